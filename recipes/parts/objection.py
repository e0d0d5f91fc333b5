"""A row of what there is against settings, as a review takes it."""

from __future__ import annotations

from typing import Any


def objection(
    name: str, key: str, message: str, *, why: str, source: str, override: str, helps: str = ""
) -> dict[str, Any]:
    """A row: what is wrong with the setting ``key``, what comes of it, who says so, and what to paste instead.

    >>> objection("flat", "recipe.x", "x is 0", why="nothing moves", source="", override="recipe.x=1")["advice"]
    [{'override': 'recipe.x=1', 'why': ''}]
    """
    advice = [{"override": override, "why": helps}]
    return {"name": name, "key": key, "message": message, "why": why, "source": source, "advice": advice}


def weight(config: Any, term: str, epoch: float = 0.0) -> float:
    """The weight of a loss term at an epoch; where a config names none, each counts 1."""
    if not config.loss:
        return 1.0
    found = config.loss.get(term)
    return float(found.value(epoch)) if found is not None else 0.0


def peak(config: Any, term: str) -> float:
    """The largest weight that a loss term has at the beginning or the end of an epoch of the run."""
    return max(weight(config, term, epoch) for epoch in range(config.trainer.epochs + 1))

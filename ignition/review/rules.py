"""All rules, asked one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ignition.review import data, evaluation, learning_rate, loss_weights, regularisation, saving, schedule
from ignition.review.objection import Objection
from ignition.review.plan import Plan

RULES = tuple(
    rule
    for group in (learning_rate, schedule, regularisation, loss_weights, evaluation, data, saving)
    for rule in group.RULES
)


def review(
    plan: Plan, own: Iterable[Objection] = (), *, place: Callable[[str], str] = lambda key: key
) -> list[Objection]:
    """What there is against ``plan``: by these rules, and ``own``, the recipe's, without what the config accepts.

    Args:
        place: where a setting stands, by its key.

    >>> from ignition.config import load_config
    >>> config = load_config(None, overrides=["trainer.epochs=5", "trainer.evaluate_every=10"])
    >>> [objection.name for objection in review(Plan(config))]
    ['never_due']
    """
    accepted = set(plan.config.review.accept)
    found = [*own, *(objection for rule in RULES for objection in rule(plan))]
    return [objection.at(place(objection.key)) for objection in found if objection.name not in accepted]

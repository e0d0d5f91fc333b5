"""Named loss terms and the one sum that is minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Weight = float | Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, for losses that depend on it.

    Attributes:
        iteration: batches seen, the current one included (from 1).
        epoch: epochs done, with a fraction: 0.0 at the first batch, 1.5 in the middle of the second epoch.
        fraction: share of the whole run done, 0 to 1.
        weights: each term's weight at this point; a term whose weight is nought need not be computed.
    """

    iteration: int = 0
    epoch: float = 0.0
    fraction: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)


Losses = Callable[[nn.Module, Any, Progress], dict[str, torch.Tensor]]
LossesOf = Callable[[nn.Module, Any, Any, Progress], dict[str, torch.Tensor]]


def of_model(losses: Losses) -> LossesOf:
    """A training's ``losses(model, batch, progress)`` as an evaluation takes them, with the outputs passed over."""
    return lambda model, outputs, batch, progress: losses(model, batch, progress)


class LossError(ValueError):
    """Terms and weights do not fit together, or a term is not what a loss term must be."""


class LossWeights:
    """What each loss term counts: numbers, or functions of the epoch.

    Args:
        weights: term name to number or function of the (fractional) epoch. None: every term counts 1.

    >>> weights = LossWeights({"l1": 1.0, "smooth": lambda epoch: 0.1 * epoch})
    >>> now = weights.at(2.0)
    >>> float(weights.total({"l1": torch.tensor(3.0), "smooth": torch.tensor(10.0)}, now))
    5.0

    Attributes:
        left_out: terms that count nothing whatever their weight says, see `leave_out`.
    """

    def __init__(self, weights: Mapping[str, Weight] | None = None):
        self.weights = dict(weights) if weights is not None else None
        self.left_out: list[str] = []
        self._terms: list[str] = []  # those of the loss, known when it was first summed up
        self._constant: dict[str, float] | None = None
        self._settle()

    def _settle(self) -> None:
        """Work out once what does not change."""
        self._constant = None
        if self.weights is not None and not any(callable(weight) for weight in self.weights.values()):
            self._constant = self.at(0.0)

    def at(self, epoch: float) -> dict[str, float]:
        """The weights at ``epoch``; empty where every term counts 1."""
        if self._constant is not None:
            return self._constant
        weights = self.weights or {}
        numbers = {name: float(weight(epoch) if callable(weight) else weight) for name, weight in weights.items()}
        return {**numbers, **{name: 0.0 for name in self.left_out if name in numbers}}

    def add(self, name: str, weight: Weight) -> None:
        """Give a further term its weight; where every term counts 1, so does this."""
        if self.weights is not None:
            self.weights[name] = weight
            self._settle()

    def leave_out(self, name: str) -> bool:
        """Let the term ``name`` count nothing from now on. False if it does so already, is none, or no other counts.

        >>> weights = LossWeights({"l1": 1.0, "spread": 0.5})
        >>> terms = {"l1": torch.tensor(3.0), "spread": torch.tensor(float("inf"))}
        >>> float(weights.total(terms, weights.at(0.0))), weights.leave_out("spread"), weights.leave_out("l1")
        (inf, True, False)
        >>> float(weights.total(terms, weights.at(0.0)))
        3.0
        """
        others = [term for term in self._terms if term not in (name, *self.left_out) and self._counts(term)]
        if name not in self._terms or name in self.left_out or not others:
            return False
        self.left_out.append(name)
        self._settle()
        return True

    def _counts(self, term: str) -> bool:
        """Whether a term has a weight that is not always nought."""
        weight = 1.0 if self.weights is None else self.weights.get(term, 0.0)
        return callable(weight) or weight != 0.0

    def state_dict(self) -> dict[str, list[str]]:
        """The terms that are left out; weights are the config's."""
        return {"left_out": list(self.left_out)}

    def load_state_dict(self, state: Mapping[str, Sequence[str]]) -> None:
        """Leave out those again."""
        self.left_out = list(state["left_out"])
        self._settle()

    def of(self, terms: Iterable[str], weights: Mapping[str, float]) -> Mapping[str, float]:
        """What each of these terms counts, where `at` gave ``weights``.

        >>> LossWeights().of(["l1", "smooth"], LossWeights().at(0.0))
        {'l1': 1.0, 'smooth': 1.0}
        """
        return weights if self.weights is not None else {name: float(name not in self.left_out) for name in terms}

    def total(self, terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
        """The weighted sum of ``terms`` (each a 0-dim tensor).

        A term whose weight is nought is left out, not multiplied: nought times infinity would be NaN.

        Raises:
            LossError: a term without a weight, a weight above nought without its term, or every weight nought.
        """
        if not self._terms:
            self._terms = list(terms)
        if self.weights is None:
            weights = self.of(terms, weights)
        elif len(weights) != len(terms) or weights.keys() != terms.keys():
            self._check(terms, weights)
        summands = [value if weights[name] == 1.0 else value * weights[name]
                    for name, value in terms.items() if weights[name] != 0.0]  # fmt: skip
        if not summands:
            raise LossError(f"every loss weight is nought, so there is nothing to minimise (terms: {_names(terms)})")
        total = summands[0]
        for summand in summands[1:]:
            total = total + summand
        return total

    def _check(self, terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> None:
        problems = [
            f"loss term '{name}' of the recipe has no weight: add loss.{name} (0 leaves it out)"
            for name in terms.keys() - weights.keys()
        ]
        problems += [
            f"loss.{name} has a weight, but the recipe gives no such term (it gives: {_names(terms)})"
            for name in weights.keys() - terms.keys()
            if weights[name] != 0.0
        ]
        if problems:
            raise LossError("\n".join(sorted(problems)))


def check_terms(terms: object) -> None:
    """What a recipe's ``losses`` returned must be a dict of 0-dim tensors, at least one of which can be trained on.

    Raises:
        LossError: it is something else; says what.
    """
    if not isinstance(terms, dict) or not terms:
        raise LossError(f"losses() must return a dict of named terms, and returned {_kind(terms)}")
    for name, value in terms.items():
        if not isinstance(value, torch.Tensor) or value.ndim != 0:
            raise LossError(f"loss term '{name}' must be a 0-dim tensor, and is {_kind(value)}: take its mean or sum")
    if not any(value.requires_grad for value in terms.values()):
        raise LossError(f"no loss term ({_names(terms)}) depends on a parameter that is trained")


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return f"an empty {type(value).__name__}" if isinstance(value, (dict, list, tuple)) and not value else repr(value)


def _names(terms: Mapping[str, object]) -> str:
    return ", ".join(sorted(terms))

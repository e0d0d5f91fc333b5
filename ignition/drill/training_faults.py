"""Faults that are put into a training on purpose, at a known iteration, to see what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from ignition.handlers.schedules import Schedule
from ignition.loss_terms import Progress
from ignition.recipe import Recipe, optional

if TYPE_CHECKING:
    from ignition.training import Training

Kind = Literal["nan_batch", "corrupt_labels", "rate_jump", "exploding_term"]
TERM = "drill"  # the term that explodes
LABELS = ("disparity", "flow", "target", "targets", "label", "labels", "truth", "boxes")


class FaultError(ValueError):
    """A fault cannot be put into this recipe; says why."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        kind: ``nan_batch``, the first sample's first image (or what it has in its place) is NaN; ``corrupt_labels``,
            labels are multiplied; ``rate_jump``, the schedule's learning rate is multiplied; ``exploding_term``, a
            further term ``exp(-100 v)`` of the loss, with ``v = var / usual - 1`` of the variance of the model's
            outputs, which is 1 for a batch of usual variance, and infinite in float32 for one of a ninth of it.
        at: after which share of the run's iterations.
        steps: for how many iterations. None: 1 of what is in a batch, the rest of the run of what is not.
        size: what labels (50) or the rate (100) are multiplied by.
        labels: the batch's key of the labels. None: the first one that is called like labels.
    """

    kind: Kind
    at: float = 0.4
    steps: int | None = None
    size: float | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise FaultError(f"kind is {self.kind!r}; it can be {', '.join(get_args(Kind))}")
        if not 0 <= self.at < 1:
            raise FaultError(f"at is {self.at}; it is a share of the run, from 0 to below 1")
        if self.steps is not None and self.steps < 1:
            raise FaultError(f"steps is {self.steps}; it must be at least 1")

    def iterations(self, total: int) -> range:
        """Those with the fault, counted from 1, of a run that has ``total``."""
        first = int(self.at * total) + 1
        lasting = self.kind in ("rate_jump", "exploding_term")
        return range(first, total + 1 if self.steps is None and lasting else first + (self.steps or 1))


def broken(recipe: type[Recipe], fault: Fault) -> type[Recipe]:
    """The same recipe with ``fault`` in its training. Its evaluations are as they were."""

    class Broken(recipe):  # type: ignore[misc, valid-type]
        _iterations = range(0)
        _variance: _Variance | None = None

        def handlers(self, training: Training) -> None:
            if optional(super(), "handlers") is not None:  # type: ignore[arg-type]
                super().handlers(training)
            self._iterations = fault.iterations(training.config.trainer.epochs * len(training.data.loader))
            if fault.kind == "rate_jump":
                _multiply_rate(training, self._iterations, fault.size or 100.0)
            if fault.kind == "exploding_term":
                training.loss_weights.add(TERM, 1.0)
                self._variance = _Variance(training.model)

        def losses(self, model: nn.Module, batch: Any, progress: Progress) -> dict[str, torch.Tensor]:
            now = model.training and progress.iteration in self._iterations
            if now and fault.kind in ("nan_batch", "corrupt_labels"):
                batch = _damaged(batch, fault)
            terms: dict[str, torch.Tensor] = super().losses(model, batch, progress)
            return self._with_term(terms, now)

        def _with_term(self, terms: dict[str, torch.Tensor], now: bool) -> dict[str, torch.Tensor]:
            if self._variance is None:
                return terms
            any_term = next(iter(terms.values()))
            value = self._variance.read() if now else None
            return {**terms, TERM: torch.exp(-100.0 * value) if value is not None else torch.zeros_like(any_term)}

        if hasattr(recipe, "losses_from"):

            def losses_from(self, outputs: Any, batch: Any, progress: Progress) -> dict[str, torch.Tensor]:
                return self._with_term(super().losses_from(outputs, batch, progress), False)

    return Broken


def _multiply_rate(training: Training, iterations: range, factor: float) -> None:
    accumulate, rate = training.config.trainer.accumulate, training.learning_rate
    steps = range((iterations.start - 1) // accumulate, (iterations.stop - 1) // accumulate)

    def jump(schedule: Schedule) -> Schedule:
        return lambda step: schedule(step) * (factor if step in steps else 1.0)

    rate.schedules = [jump(schedule) for schedule in rate.schedules]


class _Variance:
    """The variance of what a model gives while it trains, beside what was usual when it was first asked for."""

    def __init__(self, model: nn.Module):
        self._usual = math.nan
        self._frozen = False
        self._latest: torch.Tensor | None = None
        model.register_forward_hook(self._see)

    def _see(self, model: nn.Module, inputs: Any, outputs: Any) -> None:
        if model.training:
            self._latest = list(_tensors(outputs))[-1].float().var()
            if torch.is_grad_enabled() and not self._frozen:
                now = float(self._latest.detach())
                self._usual = now if math.isnan(self._usual) else 0.98 * self._usual + 0.02 * now

    def read(self) -> torch.Tensor:
        """``var / usual - 1`` of the latest forward pass."""
        self._frozen = True
        assert self._latest is not None
        return self._latest / self._usual - 1.0


def _damaged(batch: Any, fault: Fault) -> Any:
    """A batch with the fault, the one given left as it is."""
    if fault.kind == "corrupt_labels":
        key = _labels_of(batch, fault)
        return _replaced(batch, key, batch[key] * (fault.size or 50.0))
    for key, value in _items(batch):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value = value.clone()
            value[0] = math.nan
            return _replaced(batch, key, value)
    raise FaultError("nan_batch: there is no tensor of floats in a batch")


def _labels_of(batch: Any, fault: Fault) -> Any:
    if isinstance(batch, (tuple, list)) and fault.labels is None:
        return len(batch) - 1
    keys = [key for key, _ in _items(batch)]
    wanted = (fault.labels,) if fault.labels is not None else LABELS
    for key in wanted:
        if key in keys:
            return key
    raise FaultError(f"which are the labels? A batch has {', '.join(map(str, keys))}: name one by --labels")


def _items(batch: Any) -> Iterator[tuple[Any, Any]]:
    return iter(batch.items() if isinstance(batch, dict) else enumerate(batch))


def _replaced(batch: Any, key: Any, value: Any) -> Any:
    if isinstance(batch, dict):
        return {**batch, key: value}
    return type(batch)(value if place == key else item for place, item in enumerate(batch))


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for item in outputs.values():
            yield from _tensors(item)
    elif isinstance(outputs, (list, tuple)):
        for item in outputs:
            yield from _tensors(item)

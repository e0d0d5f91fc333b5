"""Learning rates as pure functions: the optimizer step in, a factor on each group's own rate out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[float], float]


class Constant:
    """The rate as it is.

    >>> Constant()(123)
    1.0
    """

    def __call__(self, step: float) -> float:
        return 1.0


class Warmup:
    """From ``start_factor`` up to the full rate in a straight line, then constant (Goyal et al., 2017).

    >>> [Warmup(4, start_factor=0.0)(step) for step in (0, 1, 4, 5)]
    [0.0, 0.25, 1.0, 1.0]
    """

    def __init__(self, steps: int, start_factor: float = 0.01):
        _check(steps=steps)
        _check(start_factor=start_factor)
        self.steps, self.start_factor = steps, start_factor

    def __call__(self, step: float) -> float:
        return 1.0 if step >= self.steps else _linear(self.start_factor, 1.0, step / self.steps)


class OneCycle:
    """Up to the full rate and far down again within ``total_steps`` (Smith & Topin, 2018).

    Gives the rates of ``torch.optim.lr_scheduler.OneCycleLR`` with the full rate as ``max_lr``. Past the end it stays
    at the last one.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup_fraction: share of them on the way up.
        start_factor: where it starts, as a share of the full rate.
        final_factor: where it ends, as a share of the full rate.
        anneal: the shape of both ways, ``cosine`` or ``linear``.

    >>> schedule = OneCycle(11, warmup_fraction=0.5)
    >>> [round(schedule(step), 4) for step in (0, 4.5, 10, 1000)]
    [0.04, 1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        total_steps: int,
        *,
        warmup_fraction: float = 0.3,
        start_factor: float = 1 / 25,
        final_factor: float = 1 / 25e4,
        anneal: Literal["cosine", "linear"] = "cosine",
    ):
        if anneal not in ("cosine", "linear"):
            raise ValueError(f"anneal is {anneal!r}; it can be 'cosine' or 'linear'")
        if total_steps < 1:
            raise ValueError(f"total_steps is {total_steps}; it counts optimizer steps, so it must be at least 1")
        if not 0 <= warmup_fraction <= 1:
            raise ValueError(f"warmup_fraction is {warmup_fraction}; it is a share of the steps, from 0 to 1")
        _check(start_factor=start_factor, final_factor=final_factor)
        self.start_factor, self.final_factor = start_factor, final_factor
        self.peak, self.end = warmup_fraction * total_steps - 1, total_steps - 1
        self._between = _cosine if anneal == "cosine" else _linear

    def __call__(self, step: float) -> float:
        step = min(step, self.end)
        if step < self.peak:
            return self._between(self.start_factor, 1.0, step / self.peak)
        if step == self.peak:
            return 1.0
        return self._between(1.0, self.final_factor, (step - self.peak) / (self.end - self.peak))


class Cosine:
    """Down from the full rate along half a cosine (Loshchilov & Hutter, 2017), after a straight warm-up if asked for.

    It reaches ``floor_factor`` at ``total_steps`` and stays there.

    Args:
        total_steps: optimizer steps of the whole run, warm-up included.
        warmup_steps: optimizer steps on the way up.
        warmup_start_factor: where the warm-up starts, as a share of the full rate.
        floor_factor: where it ends, as a share of the full rate.

    >>> schedule = Cosine(12, warmup_steps=2, warmup_start_factor=0.5, floor_factor=0.1)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 7, 12, 1000)]
    [0.5, 0.75, 1.0, 0.55, 0.1, 0.1]
    """

    def __init__(
        self,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        warmup_start_factor: float = 0.01,
        floor_factor: float = 0.0,
    ):
        _check(warmup_steps=warmup_steps)
        if total_steps <= warmup_steps:
            raise ValueError(f"total_steps is {total_steps}; it must be more than the {warmup_steps} warmup_steps")
        _check(warmup_start_factor=warmup_start_factor, floor_factor=floor_factor)
        self.total_steps, self.warmup_steps = total_steps, warmup_steps
        self.warmup_start_factor, self.floor_factor = warmup_start_factor, floor_factor

    def __call__(self, step: float) -> float:
        if step < self.warmup_steps:
            return _linear(self.warmup_start_factor, 1.0, step / self.warmup_steps)
        share = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return _cosine(1.0, self.floor_factor, min(share, 1.0))


def simulate(schedule: Schedule, steps: int, base_lr: float) -> list[float]:
    """The rates that ``steps`` optimizer steps would be taken with, before any is.

    >>> simulate(Warmup(2, start_factor=0.5), 4, 0.2)
    [0.1, 0.15000000000000002, 0.2, 0.2]
    """
    return [base_lr * schedule(step) for step in range(steps)]


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; it must be a number of at least 0")

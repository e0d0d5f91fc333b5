"""Learning rates as pure functions: the step in, a factor on each group's own rate out.

A step is an optimizer step, or whatever else the caller counts; lengths may be fractions. Past its end a schedule
stays where it ended.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
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

    def __init__(self, steps: float, start_factor: float = 0.01):
        _at_least_0(steps=steps, start_factor=start_factor)
        self.steps, self.start_factor = steps, start_factor

    def __call__(self, step: float) -> float:
        return 1.0 if step >= self.steps else _linear(self.start_factor, 1.0, step / self.steps)


class OneCycle:
    """Up to the full rate and far down again within ``total_steps`` (Smith & Topin, 2018).

    Gives the rates of ``torch.optim.lr_scheduler.OneCycleLR`` with the full rate as ``max_lr``. Past the end it stays
    at the last one.

    Args:
        total_steps: steps of the whole run.
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
        total_steps: float,
        *,
        warmup_fraction: float = 0.3,
        start_factor: float = 1 / 25,
        final_factor: float = 1 / 25e4,
        anneal: Literal["cosine", "linear"] = "cosine",
    ):
        if anneal not in ("cosine", "linear"):
            raise ValueError(f"anneal is {anneal!r}; it can be 'cosine' or 'linear'")
        if not 1 <= total_steps < math.inf:
            raise ValueError(f"total_steps is {total_steps}; it counts optimizer steps, so it must be at least 1")
        if not 0 <= warmup_fraction <= 1:
            raise ValueError(f"warmup_fraction is {warmup_fraction}; it is a share of the steps, from 0 to 1")
        _at_least_0(start_factor=start_factor, final_factor=final_factor)
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

    It reaches ``floor_factor`` at ``total_steps``.

    Args:
        total_steps: steps of the whole run, warm-up included.
        warmup_steps: steps on the way up.
        warmup_start_factor: where the warm-up starts, as a share of the full rate.
        floor_factor: where it ends, as a share of the full rate.

    >>> schedule = Cosine(12, warmup_steps=2, warmup_start_factor=0.5, floor_factor=0.1)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 7, 12, 1000)]
    [0.5, 0.75, 1.0, 0.55, 0.1, 0.1]
    """

    def __init__(
        self,
        total_steps: float,
        *,
        warmup_steps: float = 0,
        warmup_start_factor: float = 0.01,
        floor_factor: float = 0.0,
    ):
        _at_least_0(warmup_steps=warmup_steps, warmup_start_factor=warmup_start_factor, floor_factor=floor_factor)
        if not warmup_steps < total_steps < math.inf:
            raise ValueError(f"total_steps is {total_steps}; it must be more than the {warmup_steps} warmup_steps")
        self.total_steps, self.warmup_steps = total_steps, warmup_steps
        self.warmup_start_factor, self.floor_factor = warmup_start_factor, floor_factor
        down = total_steps - warmup_steps
        self._whole = InSequence((Warmup(warmup_steps, warmup_start_factor), warmup_steps), (self._fall, down))

    def __call__(self, step: float) -> float:
        return self._whole(step)

    def _fall(self, step: float) -> float:
        return _cosine(1.0, self.floor_factor, step / (self.total_steps - self.warmup_steps))


class WarmRestarts:
    """Down along half a cosine and back to the full rate at once, again and again (SGDR; Loshchilov & Hutter, 2017).

    Gives the rates of ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    Args:
        period: steps of the first way down.
        multiplier: how many times longer each way down is than the one before, a whole number.
        floor_factor: where each ends, as a share of the full rate.
        total_steps: its end: it does not restart there or later. None: it never ends.

    >>> schedule = WarmRestarts(2, multiplier=2, total_steps=6)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 4, 5, 6, 1000)]
    [1.0, 0.5, 1.0, 0.5, 0.146, 0.0, 0.0]
    """

    def __init__(
        self, period: float, *, multiplier: int = 1, floor_factor: float = 0.0, total_steps: float | None = None
    ):
        if multiplier < 1 or multiplier != int(multiplier):
            raise ValueError(f"multiplier is {multiplier}; it must be a whole number of at least 1")
        _above_0(period=period, total_steps=1 if total_steps is None else total_steps)
        _at_least_0(floor_factor=floor_factor)
        self.period, self.multiplier, self.floor_factor = period, multiplier, floor_factor
        self.end = math.inf if total_steps is None else total_steps

    def __call__(self, step: float) -> float:
        step, start, period = min(step, self.end), 0.0, self.period
        if self.multiplier == 1:
            start = step - step % period
            start -= period if start == self.end else 0.0
        else:
            while start + period <= step and start + period < self.end:
                start, period = start + period, period * self.multiplier
        return _cosine(1.0, self.floor_factor, min((step - start) / period, 1.0))


class Polynomial:
    """Down to ``floor_factor`` at ``total_steps``, as the share of steps left to the ``power``; 1 is a straight line.

    Without a floor it gives the rates of ``torch.optim.lr_scheduler.PolynomialLR``; 0.9 is usual in segmentation
    (Chen et al., 2017).

    >>> [Polynomial(4, power=2.0, floor_factor=0.2)(step) for step in (0, 2, 4, 5)]
    [1.0, 0.4, 0.2, 0.2]
    """

    def __init__(self, total_steps: float, *, power: float = 1.0, floor_factor: float = 0.0):
        _above_0(total_steps=total_steps, power=power)
        _at_least_0(floor_factor=floor_factor)
        self.total_steps, self.power, self.floor_factor = total_steps, power, floor_factor

    def __call__(self, step: float) -> float:
        left = 1.0 - min(step / self.total_steps, 1.0)
        return _linear(self.floor_factor, 1.0, left**self.power)


class Exponential:
    """Down by the same share with every step, to ``final_factor`` at ``total_steps``.

    ``torch.optim.lr_scheduler.ExponentialLR`` with ``gamma = final_factor ** (1 / total_steps)``, which depends on the
    length of the run and is seldom known by heart.

    >>> [round(Exponential(2, final_factor=0.01)(step), 3) for step in (0, 1, 2, 3)]
    [1.0, 0.1, 0.01, 0.01]
    """

    def __init__(self, total_steps: float, *, final_factor: float = 0.01):
        _above_0(total_steps=total_steps, final_factor=final_factor)
        self.total_steps, self.final_factor = total_steps, final_factor

    def __call__(self, step: float) -> float:
        return self.final_factor ** min(step / self.total_steps, 1.0)


class Steps:
    """Down by ``factor`` at each of the ``milestones``, or ``every`` so many steps.

    Gives the rates of ``torch.optim.lr_scheduler.MultiStepLR``, or of ``StepLR``.

    >>> [round(Steps([30, 60])(step), 3) for step in (29, 30, 60)], round(Steps(every=10, factor=0.5)(25), 3)
    ([1.0, 0.1, 0.01], 0.25)
    """

    def __init__(self, milestones: Sequence[float] = (), *, every: float | None = None, factor: float = 0.1):
        if bool(milestones) == (every is not None):
            raise ValueError(f"milestones are {list(milestones)} and every is {every}; give one of them")
        if not 0 < factor < 1:
            raise ValueError(f"factor is {factor}; it lowers the rate, so it must be between 0 and 1")
        _above_0(every=1 if every is None else every)
        _at_least_0(**{f"milestones[{n}]": milestone for n, milestone in enumerate(milestones)})
        self.milestones, self.every, self.factor = sorted(milestones), every, factor

    def __call__(self, step: float) -> float:
        passed = bisect_right(self.milestones, step) if self.every is None else step // self.every
        return self.factor**passed


class InSequence:
    """Schedules one after another: pairs of a schedule and its length, each beginning at its own step 0.

    The last length may be ``math.inf``; otherwise it stays where the last part is at its length.

    >>> schedule = InSequence((Warmup(2, start_factor=0.0), 2), (Steps([10]), math.inf))
    >>> [schedule(step) for step in (0, 1, 2, 11, 12)]
    [0.0, 0.5, 1.0, 1.0, 0.1]
    """

    def __init__(self, *parts: tuple[Schedule, float]):
        if not parts:
            raise ValueError("there are no parts; give pairs of a schedule and its length in steps")
        lengths = [length for _, length in parts]
        _at_least_0(**{f"the length of part {n}": length for n, length in enumerate(lengths[:-1])})
        if not lengths[-1] >= 0:
            raise ValueError(f"the length of the last part is {lengths[-1]}; it must be at least 0")
        self.schedules = [schedule for schedule, _ in parts]
        *self.starts, self.end = accumulate(lengths, initial=0)

    def __call__(self, step: float) -> float:
        step = min(step, self.end)
        part = bisect_right(self.starts, step) - 1
        return self.schedules[part](step - self.starts[part])


class PerEpoch:
    """A schedule of epochs, held throughout each; an epoch has ``epoch_steps`` steps.

    >>> schedule = PerEpoch(Cosine(2), epoch_steps=10)
    >>> [round(schedule(step), 3) for step in (0, 9, 10, 19, 20)]
    [1.0, 1.0, 0.5, 0.5, 0.0]
    """

    def __init__(self, schedule: Schedule, epoch_steps: float):
        _above_0(epoch_steps=epoch_steps)
        self.schedule, self.epoch_steps = schedule, epoch_steps

    def __call__(self, step: float) -> float:
        return self.schedule(step // self.epoch_steps)


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


def _at_least_0(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; it must be a number of at least 0")


def _above_0(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be a number above 0")

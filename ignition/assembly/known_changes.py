"""What a run's schedules change on purpose, worked out from the config before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from ignition.config import Config
from ignition.config.value_schedule import Cycles, Ramp, Switch
from ignition.handlers.schedules import InSequence, PerEpoch, Schedule, WarmRestarts, Warmup
from ignition.scheduling import schedule_of
from ignition.stability import KnownChanges

RISE = 4 / 3  # of the learning rate from one step to the next: by more it is a jump


def known_changes_of(config: Config, epoch_length: int) -> KnownChanges:
    """Where the learning rate jumps up, and where weights of loss terms jump or move; by iterations.

    A warm-up is none of them. Steps that are left out in a run make its rate jump as many steps later.

    Args:
        epoch_length: batches of an epoch.
    """
    weights, ramps = _of_weights(config, epoch_length)
    return KnownChanges(rates=_of_rate(config, epoch_length), weights=weights, ramps=ramps)


def _of_rate(config: Config, epoch_length: int) -> list[int]:
    """The iterations after the steps that are the first with a raised rate: their losses are the first to show it."""
    accumulate = config.trainer.accumulate
    epoch_steps = -(-epoch_length // accumulate)
    steps = config.trainer.epochs * epoch_steps
    schedule = schedule_of(config, epoch_steps)
    places = {math.ceil(place) for place in _joints(schedule, 0.0, steps)}
    warm_ups = list(_warm_ups(schedule, 0.0))
    rises = [
        step
        for step in sorted(places)
        if 0 < step < steps
        and schedule(step) > RISE * schedule(step - 1)
        and not any(begin < step <= math.ceil(end) for begin, end in warm_ups)
    ]
    iterations = []
    for step in rises:
        epoch, group = divmod(step, epoch_steps)
        iterations.append(epoch * epoch_length + min((group + 1) * accumulate, epoch_length) + 1)
    return [iteration for iteration in iterations if iteration <= config.trainer.epochs * epoch_length]


def _joints(schedule: Schedule, begin: float, end: float) -> Iterator[float]:
    """The steps at which a schedule that begins at ``begin`` may jump; up to ``end``."""
    match schedule:
        case InSequence():
            begins = [begin + start for start in schedule.starts]
            for part, start, stop in zip(schedule.schedules, begins, [*begins[1:], end]):
                if start < end:
                    yield start
                    yield from _joints(part, start, min(stop, end))
        case PerEpoch():
            length = schedule.epoch_steps
            for epoch in _joints(schedule.schedule, 0.0, (end - begin) / length):
                yield begin + math.ceil(epoch - 1e-9) * length
        case WarmRestarts():
            period = schedule.period
            if schedule.multiplier == 1:
                period = max(period, 1.0)  # one of less than a step restarts with each
            place, exact = period, float(period).is_integer()
            while place <= min(end - begin, schedule.end):
                yield begin + place
                if not exact:  # then it may be a step sooner or later, by how it is rounded
                    yield from (begin + place - 1, begin + place + 1)
                period *= schedule.multiplier
                place += period


def _warm_ups(schedule: Schedule, begin: float) -> Iterator[tuple[float, float]]:
    """First and last step of each warm-up within a schedule that begins at ``begin``."""
    if isinstance(schedule, InSequence):
        for part, start in zip(schedule.schedules, schedule.starts):
            yield from _warm_ups(part, begin + start)
    elif isinstance(schedule, Warmup):
        yield begin, begin + schedule.steps


def _of_weights(config: Config, epoch_length: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Where a weight is another one for the first time, and from where to where one moves."""
    jumps: list[int] = []
    ramps: list[tuple[int, int]] = []
    end = config.trainer.epochs * epoch_length
    for weight in config.loss.values():
        if isinstance(weight, Ramp) and not weight.constant:
            first = _first_after(weight.start, epoch_length)
            last = _first_at(weight.start + weight.epochs, epoch_length)
            ramps += [(first, max(min(last, end), first))] if first <= end else []
        if isinstance(weight, Cycles) and not weight.constant:
            begins = [number * weight.epochs for number in range(weight.cycles)]
            for begin in begins:
                first = _first_after(begin, epoch_length)
                last = _first_at(begin + weight.rise * weight.epochs, epoch_length)
                ramps += [(first, max(min(last, end), first))] if first <= end else []
            firsts = [_first_at(begin, epoch_length) for begin in begins[1:]]
            jumps += [first for first in firsts if first <= end]
        if isinstance(weight, Switch):
            for (_, before), (epoch, after) in pairwise(weight.at.items()):
                first = _first_at(float(epoch), epoch_length)
                jumps += [first] if before != after and first <= end else []
    return jumps, ramps


def _first_at(epoch: float, epoch_length: int) -> int:
    """The first iteration at which that many epochs are done."""
    near = max(math.floor(epoch * epoch_length), 1)
    return next(iteration for iteration in range(near, near + 4) if (iteration - 1) / epoch_length >= epoch)


def _first_after(epoch: float, epoch_length: int) -> int:
    """The first iteration at which more than that many epochs are done."""
    near = max(math.floor(epoch * epoch_length), 1)
    return next(iteration for iteration in range(near, near + 4) if (iteration - 1) / epoch_length > epoch)

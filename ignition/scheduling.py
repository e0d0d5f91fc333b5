"""From the config's ``schedule`` section to a function of the optimizer step; and the rates it gives, drawn."""

from __future__ import annotations

import math
from typing import Any

from ignition.config import Config
from ignition.curve import draw
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.schedules import (
    Constant,
    Cosine,
    Exponential,
    InSequence,
    OneCycle,
    PerEpoch,
    Polynomial,
    Schedule,
    Steps,
    WarmRestarts,
    Warmup,
)


def schedule_of(config: Config, epoch_steps: int) -> Schedule:
    """The config's learning rate schedule, a factor by optimizer step; an epoch has ``epoch_steps`` of them.

    A run that is resumed with another ``trainer.epochs`` gets the schedule of that length, from the step at which it
    stands: what is counted from the start (warm-up, milestones, restarts) stays where it was, and what leads to the end
    is stretched. To keep the way that a run was on and add to it, write both as a ``sequence``.

    >>> from ignition.config import load_config
    >>> config = load_config(None, overrides=["schedule.name=polynomial", "trainer.epochs=4"])
    >>> [schedule_of(config, epoch_steps=10)(step) for step in (0, 10, 40)]
    [1.0, 0.75, 0.0]
    """
    return _whole(config.schedule, config.trainer.epochs * epoch_steps, epoch_steps)


def picture(learning_rate: LearningRate, *, epochs: int, epoch_steps: int, plain: bool = False) -> list[str]:
    """The rates of a whole run as lines of text: the highest and the last of each group, and a curve of each schedule.

    Groups with the same rates are told together. `Plateau` may lower them.
    """
    steps = epochs * epoch_steps
    places = range(0, steps, max(steps // 100_000, 1))  # of a very long run some steps will do
    alike: dict[int, dict[float, list[str]]] = {}
    for number, (schedule, rate) in enumerate(zip(learning_rate.schedules, learning_rate.base_rates), start=1):
        alike.setdefault(id(schedule), {}).setdefault(rate, []).append(str(number))
    one = sum(map(len, alike.values())) == 1
    lines = []
    for schedule in {id(schedule): schedule for schedule in learning_rate.schedules}.values():
        factors = [schedule(step) for step in places]
        peak = factors.index(max(factors))
        for rate, groups in alike[id(schedule)].items():
            whose = "" if one else f" of parameter group{'s' if len(groups) > 1 else ''} {', '.join(groups)}"
            highest, last = rate * factors[peak], rate * schedule(steps - 1)
            at = places[peak] / epoch_steps
            lines.append(f"learning rate{whose}: highest {highest:.3g} at epoch {at:.3g}, last {last:.3g}")
        count = max(len(factors), 1000)  # a step holds its rate: that of a short run is drawn many times, not sloped
        curve = [max(alike[id(schedule)]) * factors[n * len(factors) // count] for n in range(count)]
        lines += draw(curve, height=9, low=0.0, ticks=_ticks(epochs), plain=plain)
    return lines


def _ticks(epochs: int) -> list[str]:
    """The run in equal parts, whole epochs if it can be.

    >>> _ticks(10), _ticks(7)
    (['0', '2', '4', '6', '8', '10 epochs'], ['0', '3.5', '7 epochs'])
    """
    parts = next((parts for parts in (5, 4, 6, 3) if epochs % parts == 0), 2)
    return [*(f"{epochs * part / parts:g}" for part in range(parts)), f"{epochs} epoch{'s' if epochs > 1 else ''}"]


def _whole(settings: Any, steps: int, epoch_steps: int) -> Schedule:
    """The schedule of these settings over ``steps``, its warm-up included."""
    if settings.name == "sequence":
        return _sequence(settings.parts, steps, epoch_steps)
    warmup = round(getattr(settings, "warmup_epochs", 0.0) * epoch_steps)
    rest = max(steps - warmup, 1)
    if getattr(settings, "per", "step") == "epoch":
        main: Schedule = PerEpoch(_main(settings, rest / epoch_steps, 1), epoch_steps)
    else:
        main = _main(settings, rest, epoch_steps)
    if not warmup:
        return main
    return InSequence((Warmup(warmup, settings.warmup_start_factor), warmup), (main, math.inf))


def _main(settings: Any, length: float, epoch: int) -> Schedule:
    """What follows the warm-up, over ``length`` steps or epochs; an ``epoch`` has so many of them."""
    match settings.name:
        case "one_cycle":
            return OneCycle(
                length,
                warmup_fraction=settings.warmup_fraction,
                start_factor=settings.start_factor,
                final_factor=settings.final_factor,
                anneal=settings.anneal,
            )
        case "cosine":
            return Cosine(length, floor_factor=settings.floor_factor)
        case "warm_restarts":
            return WarmRestarts(
                _exact(settings.period_epochs * epoch),
                multiplier=settings.multiplier,
                floor_factor=settings.floor_factor,
                total_steps=length,
            )
        case "polynomial":
            return Polynomial(length, power=settings.power, floor_factor=settings.floor_factor)
        case "exponential":
            return Exponential(length, final_factor=settings.final_factor)
        case "step":
            return Steps(_falls(settings, length, epoch), factor=settings.factor)
        case _:  # constant; plateau, which is lowered from outside
            return Constant()


def _falls(settings: Any, length: float, epoch: int) -> list[float]:
    """Where the rate falls, in steps from the end of the warm-up: the settings count from its beginning."""
    warmup, every = round(settings.warmup_epochs * epoch), settings.every_epochs
    epochs = settings.milestones or [every * (n + 1) for n in range(math.ceil((length + warmup) / (every * epoch)))]
    return [max(_exact(milestone * epoch) - warmup, 0) for milestone in epochs]


def _exact(steps: float) -> float:
    """Without what binary fractions add: 1.1 epochs of 10 steps are 11 of them, not a hair more, which would be 12."""
    return round(steps, 6)


def _sequence(parts: list[Any], steps: int, epoch_steps: int) -> Schedule:
    """The parts one after another; their ends are rounded to steps, so that what they leave out does not add up."""
    schedules: list[tuple[Schedule, float]] = []
    begin, epochs = 0, 0.0
    for part in parts:
        epochs += part.epochs or 0.0
        end = steps if part.epochs is None else min(round(epochs * epoch_steps), steps)
        schedules.append((_whole(part.schedule, end - begin, epoch_steps), end - begin))
        begin = end
    return InSequence(*schedules)

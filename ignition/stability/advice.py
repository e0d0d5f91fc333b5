"""What findings advise: settings worked out from those of the run, as they are pasted behind the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ignition.stability.finding import Advice


@dataclass(frozen=True)
class RunSettings:
    """What is known of a run's settings; None is not known, and then advice says in words what it cannot in numbers.

    Attributes:
        learning_rate: ``optimizer.lr``, the highest of the schedule.
        max_norm: ``clip.max_norm``; 0 if gradients are not clipped by norm.
        warmup_epochs: ``schedule.warmup_epochs``; None also where the schedule has none, as one_cycle.
        batch_size: ``data.batch_size``.
        workers: ``data.workers``.
        half_precision: whether gradients are computed in fp16 (``trainer.amp=fp16``).
        weight_decay: ``optimizer.weight_decay``.
        weighted: whether the config has a section ``loss``, in which each term has a weight; else each counts 1.
    """

    learning_rate: float | None = None
    max_norm: float | None = None
    warmup_epochs: float | None = None
    batch_size: int | None = None
    workers: int | None = None
    half_precision: bool = False
    weight_decay: float | None = None
    weighted: bool = True


def change_rate(settings: RunSettings, factor: float, why: str) -> Advice:
    """The learning rate times ``factor``.

    >>> change_rate(RunSettings(learning_rate=1e-4), 0.5, "smaller steps").override
    'optimizer.lr=5e-5'
    """
    if settings.learning_rate is None:
        return Advice("", f"learning rate times {written(factor)}: {why}")
    return Advice(f"optimizer.lr={written(settings.learning_rate * factor)}", why)


def clip(settings: RunSettings, typical: float | None = None) -> Advice | None:
    """Clipping by norm where there is none; None where the limit is as low already.

    Args:
        typical: the usual norm of the gradients. The limit is 1, the one that most people take, or twice this where it
            is more than 1, which would shorten every step, or less than 0.1, which would shorten none that matters.
    """
    limit = 1.0 if typical is None or 0.1 <= typical <= 1.0 else 2 * typical
    if settings.max_norm and settings.max_norm <= limit:
        return None
    return Advice(
        f"clip.kind=norm clip.max_norm={written(limit)}",
        "a single batch can then move the weights no further than that",
    )


def warm_up(settings: RunSettings) -> Advice | None:
    """A warm-up twice as long, or one at all; None where it is not known whether there is one."""
    if settings.warmup_epochs is None:
        return None
    epochs = 2 * settings.warmup_epochs or 1.0
    return Advice(f"schedule.warmup_epochs={written(epochs)}", "the first steps are the most fragile ones")


def weigh(settings: RunSettings, new: Mapping[str, float], terms: Iterable[str]) -> str:
    """The setting that gives loss terms other weights; with those of all ``terms`` if the run names none so far.

    >>> weigh(RunSettings(), {"kl": 0.1}, ["kl", "xy"]), weigh(RunSettings(weighted=False), {"kl": 0}, ["kl", "xy"])
    ('loss.kl=0.1', 'loss.kl=0 loss.xy=1.0')
    """
    others = {} if settings.weighted else {name: 1.0 for name in terms if name not in new}
    return " ".join(f"loss.{name}={written(weight) if weight else 0}" for name, weight in {**new, **others}.items())


def given(*advice: Advice | None) -> tuple[Advice, ...]:
    """Those that are there."""
    return tuple(each for each in advice if each is not None)


def written(number: float) -> str:
    """A number with three digits, as people write it.

    >>> written(0.00005), written(1.25e-4), written(0.5), written(1.0), written(3200.0)
    ('5e-5', '1.25e-4', '0.5', '1.0', '3200')
    """
    if number == 0 or 0.001 <= abs(number) < 1e6:
        text = f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
        return text if "." in text or abs(number) >= 1000 else f"{text}.0"
    mantissa, exponent = f"{number:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"

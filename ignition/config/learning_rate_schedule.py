"""The learning rate over the run: one section for each kind, chosen by ``schedule.name``; all lengths in epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ignition.config.node import Path, dotted
from ignition.config.section import Section

STEPS = 10  # times the run: a length like that was counted in steps
Mode = Literal["min", "max"]
Epochs = Annotated[float, Field(gt=0)]
Per = Annotated[
    Literal["step", "epoch"],
    Field(description="when the rate changes: with every step, or once an epoch (counted from the end of the warm-up)"),
]
Floor = Annotated[float, Field(ge=0, le=1, description="last rate as a share of `optimizer.lr`")]


class WarmedUp(Section):
    """A rate that comes up to `optimizer.lr` in a straight line first, step by step."""

    name: str
    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs on the way up")
    warmup_start_factor: float = Field(default=0.01, ge=0, le=1, description="first rate as a share of `optimizer.lr`")


class ConstantRate(WarmedUp):
    """The rate stays at `optimizer.lr`, after a warm-up if asked for."""

    name: Literal["constant"] = "constant"


class OneCycleRate(Section):
    """Up to `optimizer.lr` and far down again within the run (Smith & Topin, 2018); steps with every batch."""

    name: Literal["one_cycle"] = "one_cycle"
    warmup_fraction: float = Field(
        default=0.3, ge=0, le=1, description="share of all steps on the way up; torch: `pct_start`"
    )
    start_factor: float = Field(
        default=1 / 25, gt=0, le=1, description="first rate as a share of `optimizer.lr`; torch: 1 / `div_factor`"
    )
    final_factor: float = Field(
        default=4e-6,
        ge=0,
        le=1,
        description="last rate as a share of `optimizer.lr`; torch: 1 / (`div_factor` x `final_div_factor`)",
    )
    anneal: Literal["cosine", "linear"] = Field(default="cosine", description="the shape of both ways")


class CosineRate(WarmedUp):
    """Down from `optimizer.lr` along half a cosine (Loshchilov & Hutter, 2017), after a warm-up if asked for."""

    name: Literal["cosine"] = "cosine"
    floor_factor: Floor = 0.0
    per: Per = "step"


class WarmRestartsRate(WarmedUp):
    """Down along half a cosine and at once back to `optimizer.lr`, again and again (Loshchilov & Hutter, 2017)."""

    name: Literal["warm_restarts"] = "warm_restarts"
    period_epochs: float = Field(gt=0, description="epochs of the first way down; torch: `T_0`")
    multiplier: int = Field(default=1, ge=1, description="how many times longer each next one is; torch: `T_mult`")
    floor_factor: Floor = 0.0
    per: Per = "step"


class PolynomialRate(WarmedUp):
    """Down from `optimizer.lr` as a power of the share of the run that is left (Chen et al., 2017)."""

    name: Literal["polynomial"] = "polynomial"
    power: float = Field(default=1.0, gt=0, description="1 is a straight line")
    floor_factor: Floor = 0.0
    per: Per = "step"


class ExponentialRate(WarmedUp):
    """Down from `optimizer.lr` by the same share with every step."""

    name: Literal["exponential"] = "exponential"
    final_factor: float = Field(default=0.01, gt=0, le=1, description="last rate as a share of `optimizer.lr`")
    per: Per = "step"


class StepRate(WarmedUp):
    """Down from `optimizer.lr` by a factor at given epochs, or every so many."""

    name: Literal["step"] = "step"
    milestones: list[Epochs] = Field(
        default_factory=list, description="epochs done when the rate falls; or `every_epochs`"
    )
    every_epochs: float | None = Field(default=None, gt=0, description="epochs from one fall to the next")
    factor: float = Field(default=0.1, gt=0, lt=1, description="what the rate is multiplied by; torch: `gamma`")

    @model_validator(mode="after")
    def _one_of_them(self) -> StepRate:
        if bool(self.milestones) == (self.every_epochs is not None):
            raise ValueError("give one of milestones and every_epochs, for instance milestones: [30, 60]")
        return self


class PlateauRate(WarmedUp):
    """Lower the rate each time a metric has not improved for a while."""

    name: Literal["plateau"] = "plateau"
    metric: str = Field(default="val/loss", min_length=1, description="the metric to watch")
    mode: Mode = Field(default="min", description="whether lower or higher is better")
    factor: float = Field(default=0.5, gt=0, lt=1, description="what the rate is multiplied by")
    patience: int = Field(default=5, ge=0, description="evaluations without improvement that are waited for")
    min_lr: float = Field(default=1e-7, ge=0, description="the rate is not lowered below this")
    threshold: float = Field(default=1e-4, ge=0, description="how much better counts, as a share of the best value")
    cooldown: int = Field(default=0, ge=0, description="evaluations after a cut that are not counted")


class Part(Section):
    """A part of a sequence: a schedule of its own, which begins where the part begins."""

    epochs: float | None = Field(default=None, gt=0, description="its length; null, for the last part: what is left")
    schedule: Schedule = Field(default_factory=ConstantRate, description="as the section `schedule`, but no `plateau`")


class SequenceRate(Section):
    """Schedules one after another; after a sequence shorter than the run, the rate stays where it ended."""

    name: Literal["sequence"] = "sequence"
    parts: list[Part] = Field(min_length=1, description="such as `{epochs: 5, schedule: {name: cosine}}`")


def with_kind(key: str, kind: str) -> BeforeValidator:
    """A mapping that does not say its ``key`` is of the default ``kind``."""

    def fill(value: Any) -> Any:
        return {key: kind, **value} if isinstance(value, dict) else value

    return BeforeValidator(fill)


Schedule = Annotated[
    Annotated[
        ConstantRate
        | OneCycleRate
        | CosineRate
        | WarmRestartsRate
        | PolynomialRate
        | ExponentialRate
        | StepRate
        | PlateauRate
        | SequenceRate,
        Field(discriminator="name"),
    ],
    with_kind("name", "constant"),
]
Part.model_rebuild()


def misfits(
    schedule: Schedule, epochs: float, path: Path = ("schedule",), limit: str = "trainer.epochs"
) -> Iterator[tuple[Path, str]]:
    """What of ``schedule`` does not fit into its ``epochs``, which are called ``limit``: where, and why."""
    warmup = getattr(schedule, "warmup_epochs", 0.0)
    within = f"{limit} ({epochs:g})"
    alone = isinstance(schedule, ConstantRate)  # may be a warm-up and nothing else
    if warmup > epochs or (warmup == epochs and not alone):
        most = "at most" if alone else "less than"
        yield (*path, "warmup_epochs"), f"expected {most} {within}, found {_in_epochs(warmup, epochs)}"
    elif isinstance(schedule, WarmRestartsRate) and warmup + schedule.period_epochs > epochs:
        less = " less warmup_epochs" if warmup else ""
        yield (
            (*path, "period_epochs"),
            (f"expected at most {within}{less}, found {_in_epochs(schedule.period_epochs, epochs)}"),
        )
    elif isinstance(schedule, StepRate):
        falls: list[tuple[Path, float]] = [(("milestones", n), epoch) for n, epoch in enumerate(schedule.milestones)]
        for key, epoch in falls or [(("every_epochs",), schedule.every_epochs or 0.0)]:
            if epoch <= warmup:
                yield (*path, *key), f"expected more than warmup_epochs ({warmup:g}), found {epoch:g}"
            elif epoch >= epochs:
                yield (*path, *key), f"expected less than {within}, found {_in_epochs(epoch, epochs)}"
    elif isinstance(schedule, SequenceRate):
        yield from _misfits_of_parts(schedule.parts, epochs, (*path, "parts"), within)


def _in_epochs(length: float, epochs: float) -> str:
    """A length that does not fit; one that was probably meant in steps is told what it counts.

    >>> _in_epochs(12, 10), _in_epochs(500, 10)
    ('12', '500: it counts epochs, not steps')
    """
    return f"{length:g}" + (": it counts epochs, not steps" if length >= STEPS * epochs else "")


def _misfits_of_parts(parts: list[Part], epochs: float, path: Path, within: str) -> Iterator[tuple[Path, str]]:
    done = 0.0
    for number, part in enumerate(parts):
        here = (*path, number)
        if part.schedule.name == "plateau":
            yield (*here, "schedule", "name"), "'plateau' follows a metric over the whole run and cannot be a part"
        if part.epochs is None and part is not parts[-1]:
            yield (*here, "epochs"), "is missing; only the last part may leave it out"
            return
        length, limit = part.epochs, f"{dotted(here)}.epochs"
        if length is None:
            length, limit = epochs - done, "the epochs left"
        if length <= 0:
            yield here, f"no epochs are left for this part: those before it take all of {within}"
        elif done + length > epochs + 1e-9:  # fractions may not add up exactly
            yield (*here, "epochs"), f"this part would end at {done + length:g} epochs, later than {within}"
        else:
            yield from misfits(part.schedule, length, (*here, "schedule"), limit)
        done += length

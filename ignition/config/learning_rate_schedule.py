"""The learning rate over the run: one section for each kind, chosen by ``schedule.name``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ignition.config.section import Section

Mode = Literal["min", "max"]


class ConstantRate(Section):
    """The rate stays at `optimizer.lr`."""

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


class CosineRate(Section):
    """Down from `optimizer.lr` along half a cosine (Loshchilov & Hutter, 2017), after a warm-up if asked for."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs on the way up; fewer than `trainer.epochs`")
    warmup_start_factor: float = Field(default=0.01, ge=0, le=1, description="first rate as a share of `optimizer.lr`")
    floor_factor: float = Field(default=0.0, ge=0, le=1, description="last rate as a share of `optimizer.lr`")


class PlateauRate(Section):
    """Lower the rate each time a metric has not improved for a while."""

    name: Literal["plateau"] = "plateau"
    metric: str = Field(default="val/loss", min_length=1, description="the metric to watch")
    mode: Mode = Field(default="min", description="whether lower or higher is better")
    factor: float = Field(default=0.5, gt=0, lt=1, description="what the rate is multiplied by")
    patience: int = Field(default=5, ge=0, description="evaluations without improvement that are waited for")
    min_lr: float = Field(default=1e-7, ge=0, description="the rate is not lowered below this")
    threshold: float = Field(default=1e-4, ge=0, description="how much better counts, as a share of the best value")
    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs on the way up; fewer than `trainer.epochs`")
    cooldown: int = Field(default=0, ge=0, description="evaluations after a cut that are not counted")


def with_kind(key: str, kind: str) -> BeforeValidator:
    """A mapping that does not say its ``key`` is of the default ``kind``."""

    def fill(value: Any) -> Any:
        return {key: kind, **value} if isinstance(value, dict) else value

    return BeforeValidator(fill)


Schedule = Annotated[
    Annotated[ConstantRate | OneCycleRate | CosineRate | PlateauRate, Field(discriminator="name")],
    with_kind("name", "constant"),
]

"""Numbers that change over a run: a constant, a ramp between two epochs, one again and again, a switch."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ignition.config.section import Section, Whole

EXPECTED = "a number or a schedule such as {from: 0, to: 1, epochs: 50}"


class Fixed(RootModel[float]):
    """The same number throughout.

    >>> Fixed(0.5).value(epoch=3.0), Fixed(0.5).constant
    (0.5, True)
    """

    model_config = {"frozen": True, "strict": True, "allow_inf_nan": False}

    @model_validator(mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise PydanticCustomError("expected", EXPECTED)
        return value

    @property
    def constant(self) -> bool:
        return True

    def value(self, epoch: float) -> float:
        """The number at ``epoch`` (epochs done, with a fraction)."""
        return self.root


class Ramp(Section):
    """From one number to another over some epochs, constant before and after.

    >>> beta = Ramp.model_validate({"from": 0.0, "to": 1.0, "epochs": 50, "start": 10})
    >>> [beta.value(epoch) for epoch in (0, 10, 35, 60, 1000)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    from_: float = Field(alias="from", description="the number before and at `start`")
    to: float = Field(description="the number `epochs` later, and from then on")
    epochs: float = Field(gt=0, description="how long the change takes")
    start: float = Field(default=0.0, ge=0, description="epochs done when the change begins")
    shape: Literal["linear", "cosine"] = Field(default="linear", description="a straight line, or half a cosine")

    @property
    def constant(self) -> bool:
        return self.from_ == self.to

    def value(self, epoch: float) -> float:
        """The number at ``epoch`` (epochs done, with a fraction)."""
        share = min(max((epoch - self.start) / self.epochs, 0.0), 1.0)
        if self.shape == "cosine":
            share = (1.0 - math.cos(math.pi * share)) / 2.0
        return (1.0 - share) * self.from_ + share * self.to


class Cycles(Section):
    """A ramp again and again: each cycle sets out from the first number, and stays at the other once it is there.

    Cyclical annealing (Fu et al., Cyclical annealing schedule, 2019) is one of four cycles that rise for half of each.

    >>> beta = Cycles.model_validate({"from": 0.0, "to": 1.0, "cycles": 2, "epochs": 10})
    >>> [beta.value(epoch) for epoch in (0, 2.5, 5, 9.9, 10, 12.5, 20, 1000)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0]
    """

    from_: float = Field(alias="from", description="the number at the beginning of each cycle")
    to: float = Field(description="the number at its end, and after the last")
    cycles: int = Field(ge=1, description="how many there are")
    epochs: float = Field(gt=0, description="how long one lasts")
    rise: float = Field(default=0.5, gt=0, le=1, description="share of a cycle that the change takes")

    @property
    def constant(self) -> bool:
        return self.from_ == self.to

    def value(self, epoch: float) -> float:
        """The number at ``epoch`` (epochs done, with a fraction)."""
        if epoch >= self.cycles * self.epochs:
            return self.to
        share = min(max(epoch, 0.0) % self.epochs / (self.rise * self.epochs), 1.0)
        return (1.0 - share) * self.from_ + share * self.to


class Switch(Section):
    """A number that jumps at given epochs.

    >>> weight = Switch(at={"0": 1.0, "50": 0.0})
    >>> [weight.value(epoch) for epoch in (0, 49.9, 50, 99)]
    [1.0, 1.0, 0.0, 0.0]
    """

    at: Annotated[dict[str, float], Whole()] = Field(
        description="epochs done, and the number from then on; epoch 0 must be among them"
    )

    @field_validator("at")
    @classmethod
    def _starts_at_zero(cls, at: dict[str, float]) -> dict[str, float]:
        epochs = [_epoch(key) for key in at]
        if len(set(epochs)) < len(epochs):
            raise ValueError(f"an epoch is given twice in {', '.join(at)}")
        if 0.0 not in epochs:
            raise ValueError("add what holds from the start, for instance {0: 1.0, 50: 0.0}")
        return {key: number for _, key, number in sorted(zip(epochs, at, at.values()))}

    @property
    def constant(self) -> bool:
        return len(set(self.at.values())) == 1

    def value(self, epoch: float) -> float:
        """The number at ``epoch`` (epochs done, with a fraction)."""
        return [number for start, number in self.at.items() if float(start) <= max(epoch, 0.0)][-1]


def form_of(value: Any) -> str:
    """Which of the four a value from a config is meant to be, by its shape."""
    if isinstance(value, Section):
        return type(value).__name__.lower()
    if isinstance(value, dict):
        return "switch" if "at" in value else "cycles" if "cycles" in value else "ramp"
    return "fixed"


ValueSchedule = Annotated[
    Annotated[Fixed, Tag("fixed")]
    | Annotated[Ramp, Tag("ramp")]
    | Annotated[Cycles, Tag("cycles")]
    | Annotated[Switch, Tag("switch")],
    Discriminator(form_of),
]
"""A number in a config that may change over the run; has ``value(epoch)`` and ``constant``."""


def _epoch(key: str) -> float:
    try:
        epoch = float(key)
    except ValueError:
        epoch = math.nan
    if not (math.isfinite(epoch) and epoch >= 0):
        raise ValueError(f"expected epochs of at least 0 as keys, found '{key}'")
    return epoch

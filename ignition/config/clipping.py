"""How gradients are limited before a step: one section for each kind, chosen by ``clip.kind``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ignition.config.learning_rate_schedule import with_kind
from ignition.config.section import Section


class NoClipping(Section):
    """Gradients are measured and left as they are."""

    kind: Literal["none"] = "none"


class NormClipping(Section):
    """All gradients are scaled together so that their norm stays within a limit."""

    kind: Literal["norm"] = "norm"
    max_norm: float = Field(default=1.0, gt=0, description="the largest norm of all gradients together")


class ValueClipping(Section):
    """Each element of the gradients is cut to a limit."""

    kind: Literal["value"] = "value"
    max_value: float = Field(gt=0, description="the largest absolute value of an element")


class AgcClipping(Section):
    """Each output unit's gradient stays within a share of its weights (adaptive clipping; Brock et al., 2021)."""

    kind: Literal["agc"] = "agc"
    clipping: float = Field(default=0.01, gt=0, description="the largest gradient norm as a share of the weights' norm")
    eps: float = Field(default=1e-3, gt=0, description="weights smaller than this count as this large")
    skip: list[str] = Field(
        default_factory=list,
        description="regular expressions: parameters in whose names one is found are left alone, as the last layer's",
    )

    @field_validator("skip")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is not a regular expression: {error}") from error
        return patterns


class AutoClipping(Section):
    """The limit is a percentile of the norms so far (AutoClip; Seetharaman et al., 2020)."""

    kind: Literal["autoclip"] = "autoclip"
    percentile: float = Field(default=10.0, gt=0, le=100, description="the percentile that is the limit")


class ZClipping(Section):
    """A norm that lies far outside of those before is brought back (ZClip, arXiv 2504.02507)."""

    kind: Literal["zclip"] = "zclip"
    z: float = Field(default=2.5, gt=0, description="standard deviations above the mean that are let through")
    alpha: float = Field(default=0.97, gt=0, lt=1, description="how slowly mean and deviation forget, for each step")
    warmup: int = Field(default=25, ge=2, description="steps that are only measured")


Clip = Annotated[
    Annotated[
        NoClipping | NormClipping | ValueClipping | AgcClipping | AutoClipping | ZClipping, Field(discriminator="kind")
    ],
    with_kind("kind", "none"),
]

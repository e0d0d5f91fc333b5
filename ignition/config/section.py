"""The base of all typed settings, and marks that say how their values are inherited."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Typed settings: frozen, nothing unknown, nothing converted, every number finite.

    A recipe's ``Settings`` inherits from it. A list in YAML may fill a tuple, a whole number a float.

    >>> from pydantic import Field
    >>> class Settings(Section):
    ...     '''Settings of a small network.'''
    ...     width: int = Field(32, ge=1, description="channels of the first layer")
    >>> Settings(width=16).width
    16
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class BelongsTo:
    """Marks a key whose value makes sense only with the present value of ``key``.

    A config that inherits both and changes ``key`` drops the marked one: options of Adam mean nothing to SGD.
    """

    key: str


@dataclass(frozen=True)
class Whole:
    """Marks a key that is inherited or replaced as one piece, though it holds a mapping."""

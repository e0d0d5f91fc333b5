"""A number as a row holds it."""

from __future__ import annotations

import math
from typing import Any

_TEXT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: Any) -> float | None:
    """A number, also one that a file holds as text because it is not finite; None for anything else.

    >>> number(3), number("-Infinity"), number("text"), number(True)
    (3.0, -inf, None, None)
    """
    if type(value) is float:
        return value
    if isinstance(value, str):
        return _TEXT.get(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def finite(value: Any) -> float | None:
    """The same, and None for what is not finite."""
    known = number(value)
    return known if known is not None and math.isfinite(known) else None

"""What an unquoted word of YAML means, by the core schema of YAML 1.2 (2009), section 10.3.2.

PyYAML follows YAML 1.1, where ``1e-3`` is text, ``no`` is false, ``010`` is 8 and ``12:30:45`` is 45045.
"""

from __future__ import annotations

import re

NULL = re.compile(r"~|null|Null|NULL|")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
LONGEST_NUMBER = 400  # digits; int() refuses several thousand, and no setting needs them

Scalar = str | int | float | bool | None


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted word.

    >>> [read_scalar(word) for word in ("1e-3", "010", "no", "12:30:45", "1_000", "True", "~")]
    [0.001, 10, 'no', '12:30:45', '1_000', True, None]

    Raises:
        ValueError: a number of hundreds of digits.
    """
    if NULL.fullmatch(text):
        return None
    if BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if INTEGER.fullmatch(text):
        if len(text) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text

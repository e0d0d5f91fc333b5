"""Numbers and others' words as a page has them."""

from __future__ import annotations

import math
import re

# Control characters, among them the escape that begins a terminal's commands, and signs that turn text around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def clean(text: str, most: int = 2000) -> str:
    """Words of a file that may hold anything, as one line that does nothing to a terminal.

    >>> clean("val/a\\x1b[2J\\nb"), clean("abcdef", 4)
    ('val/a\ufffd[2J b', 'abc…')
    """
    text = _UNSAFE.sub("\ufffd", text[: 2 * most].replace("\n", " ").replace("\t", " "))
    return text if len(text) <= most else text[: most - 1] + "…"


def figure(value: float | None) -> str:
    """A measured number.

    >>> figure(0.123456), figure(123456.0), figure(None), figure(float("nan")), figure(2e-5)
    ('0.1235', '123456', '-', 'nan', '2e-05')
    """
    if value is None:
        return "-"
    return f"{value:.0f}" if math.isfinite(value) and 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A length of time as a person says it.

    >>> duration(42), duration(125), duration(7300), duration(200_000), duration(None)
    ('42 s', '2 min 05 s', '2 h 01 min', '2 d 7 h', '-')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def size(count: float) -> str:
    """So many bytes.

    >>> size(3_500_000_000), size(12_000)
    ('3.26 GiB', '11.7 KiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"

"""Draws numbers as text: a curve of some lines for a terminal, or a sparkline within one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#"
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille: the bits of 4 rows of 2 dots
EMPTY = 0x2800
PLAIN = " '-'.|.|"  # by bits: 1 upper, 2 middle, 4 lower third

Span = tuple[float, float]


def fits(encoding: str | None) -> bool:
    """Whether text of this encoding can hold the curves; where it cannot, ask for them ``plain``.

    >>> fits("utf-8"), fits("ascii"), fits(None)
    (True, False, False)
    """
    try:
        (BLOCKS + chr(EMPTY) + "┤┼─").encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def draw(
    values: Sequence[float],
    *,
    width: int = 72,
    height: int = 8,
    low: float | None = None,
    high: float | None = None,
    ticks: Sequence[str] = (),
    plain: bool = False,
) -> list[str]:
    """``values``, evenly spaced, as a curve: ``height`` lines, an axis and, with ``ticks``, a line that names places.

    Where a value is not finite there is a gap. Of more values than there is room for, each column shows the range of
    those that fall into it, so that no peak is lost.

    Args:
        width: characters of the longest line, labels included.
        height: lines of the curve itself; with an odd number the middle is labelled as well.
        low, high: what the lowest and the highest line stand for; None: the lowest and highest value.
        ticks: words below the axis, spread evenly from its first to its last column.
        plain: ASCII characters only; else braille.

    >>> print("\\n".join(draw([0, 1, 4, 9, 16], width=24, height=3, ticks=("0", "4"), plain=True)))
    16 |                ..-'
     8 |           ...-''
     0 |......--''''
       +--------------------
        0                  4
    """
    finite = [value for value in values if math.isfinite(value)]
    bottom = low if low is not None else min(finite, default=0.0)
    top = high if high is not None else max(finite, default=1.0)
    if bottom >= top:  # a level line, drawn in the middle
        bottom, top = bottom - (abs(bottom) or 1.0), top + (abs(top) or 1.0)
    labels = _labels(bottom, top, height)
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 1)
    across, down = (1, 3) if plain else (2, 4)
    rows = [[0] * columns for _ in range(height)]
    for x, span in enumerate(_connected(_spans(values, columns * across))):
        if span is None:
            continue
        first, last = (round((1 - _share(value, bottom, top)) * (height * down - 1)) for value in reversed(span))
        for y in range(first, last + 1):
            rows[y // down][x // across] |= 1 << (y % down) if plain else DOTS[y % down][x % across]
    side, corner, floor = ("|", "+", "-") if plain else ("┤", "┼", "─")
    lines = [f"{label:>{margin}} {side}{_text(row, plain)}".rstrip() for label, row in zip(labels, rows, strict=True)]
    lines.append(" " * (margin + 1) + corner + floor * columns)
    return [*lines, " " * (margin + 2) + _spread(ticks, columns)] if ticks else lines


def sparkline(values: Sequence[float], width: int = 20, *, plain: bool = False) -> str:
    """``values`` as one word of at most ``width`` characters, from their lowest to their highest.

    Of more values than ``width`` each character shows a mean. Where a value is not finite there is a gap.

    >>> sparkline([1, 2, 3, float("nan"), 5]), sparkline([1, 2, 3, 4], plain=True), sparkline([7, 7])
    ('▁▃▅ █', '_-+#', '▅▅')
    """
    levels = PLAIN_BLOCKS if plain else BLOCKS
    means = [_mean(part) for part in _parts(values, min(width, len(values)))]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    word = ""
    for mean in means:
        share = _share(mean, low, high) if low < high else 0.5
        word += levels[min(int(share * len(levels)), len(levels) - 1)] if math.isfinite(mean) else " "
    return word


def _parts(values: Sequence[float], count: int) -> list[list[float]]:
    """The finite ones of ``values`` in ``count`` runs of about the same length, at least one value to a run."""
    bounds = [number * len(values) // count for number in range(count + 1)] if count else [0]
    return [[value for value in values[begin:end] if math.isfinite(value)] for begin, end in pairwise(bounds)]


def _mean(values: list[float]) -> float:
    return sum(value / len(values) for value in values) if values else math.nan


def _spans(values: Sequence[float], count: int) -> list[Span | None]:
    """Lowest and highest value for each of ``count`` columns, None for a gap; fewer values are joined by lines."""
    if len(values) >= count:
        return [(min(part), max(part)) if part else None for part in _parts(values, count)]
    own = {round(number * (count - 1) / max(len(values) - 1, 1)): value for number, value in enumerate(values)}
    spans: list[Span | None] = []
    for column in range(count if values else 0):
        place = column * (len(values) - 1) / (count - 1)
        share = place - math.floor(place)
        value = values[math.floor(place)] * (1 - share) + values[math.ceil(place)] * share
        if not math.isfinite(value):
            value = own.get(column, math.nan)  # beside a gap a value has a column of its own
        spans.append((value, value) if math.isfinite(value) else None)
    return spans


def _connected(spans: list[Span | None]) -> Iterator[Span | None]:
    """Each span reaching as far as the one before it, so that a jump is a line."""
    for before, span in pairwise([None, *spans]):
        joined = span if span is None or before is None else (min(span[0], before[1]), max(span[1], before[0]))
        yield joined


def _share(value: float, bottom: float, top: float) -> float:
    """Where between ``bottom`` (0) and ``top`` (1); halved, since the difference of large numbers may be infinite."""
    return min(max((value / 2 - bottom / 2) / (top / 2 - bottom / 2), 0.0), 1.0)


def _labels(bottom: float, top: float, height: int) -> list[str]:
    """What the rows stand for: top, bottom, a middle if there is one, with as many digits as tell them apart."""
    rows = {0: top, height - 1: bottom}
    if height % 2 and height > 1:
        rows[height // 2] = bottom / 2 + top / 2
    texts: dict[int, str] = {}
    for digits in range(3, 10):
        texts = {row: f"{value:.{digits}g}" for row, value in rows.items()}
        if len(set(texts.values())) == len(rows):
            break
    return [texts.get(row, "") for row in range(height)]


def _text(cells: list[int], plain: bool) -> str:
    return "".join(PLAIN[bits] if plain else chr(EMPTY + bits) if bits else " " for bits in cells)


def _spread(words: Sequence[str], width: int) -> str:
    """``words`` evenly over ``width`` characters, the first at its left end, the last at its right; what fits."""
    line = " " * width
    for number in sorted(range(len(words)), key=lambda number: number not in (0, len(words) - 1)):
        centre = number * (width - 1) / max(len(words) - 1, 1)
        begin = min(max(round(centre - (len(words[number]) - 1) / 2), 0), max(width - len(words[number]), 0))
        end = begin + len(words[number])
        if not line[max(begin - 1, 0) : end + 1].strip():
            line = line[:begin] + words[number] + line[end:]
    return line.rstrip()

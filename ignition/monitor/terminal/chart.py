"""Curves over iterations as text: several in one frame, with findings marked on the time line."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from ignition.curve import DOTS, EMPTY, PLAIN
from ignition.monitor.curves import Point

LOG = 30.0  # times the lowest value: with more the axis is logarithmic


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        points: as `Curves.points` gives them.
        style: its colour.
        dots: each point is a dot of its own, as of evaluations; else they are a line.
    """

    points: Sequence[Point]
    style: str = "cyan"
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """What a frame shows: iterations from left to right, values from the bottom to the top.

    Values beyond are drawn at the edge. ``log``: the vertical one is logarithmic.
    """

    left: float = 0.0
    right: float = 1.0
    bottom: float = 0.0
    top: float = 1.0
    log: bool = False

    @classmethod
    def around(cls, series: Iterable[Series], right: float | None = None) -> Axes:
        """Axes for all these curves; one that leaves the range of the others by far is cut off.

        Args:
            series: they.
            right: the last iteration; that of the points if None.
        """
        points = [point for each in series for point in each.points]
        values = sorted(
            value for point in points for value in {point.mean, point.low, point.high} if math.isfinite(value)
        )
        end = right if right is not None else max((point.iteration for point in points), default=1)
        if not values:
            return cls(right=max(end, 1.0))
        lowest, highest = values[0], values[-1]
        low, high = values[len(values) // 100], values[-1 - len(values) // 100]
        reach = 3 * max(high - low, abs(high) / 10)
        lowest, highest = max(lowest, low - reach), min(highest, high + reach)
        log = lowest > 0 and highest / lowest > LOG
        if log:
            lowest, highest = max(values[0], low / 3), min(values[-1], high * 10)
        if lowest == highest:
            lowest, highest = lowest - (abs(lowest) or 1.0) / 2, highest + (abs(highest) or 1.0) / 2
        return cls(0.0, max(end, 1.0), lowest, highest, log)

    def across(self, iteration: float) -> float:
        """Where an iteration lies, 0 at the left to 1 at the right."""
        return min(max((iteration - self.left) / max(self.right - self.left, 1e-12), 0.0), 1.0)

    def down(self, value: float) -> float:
        """Where a value lies, 0 at the top to 1 at the bottom; halved, since a difference may be infinite."""
        value = min(max(value, self.bottom), self.top)
        if self.log:
            return (math.log(self.top) - math.log(value)) / (math.log(self.top) - math.log(self.bottom))
        return (self.top / 2 - value / 2) / (self.top / 2 - self.bottom / 2)

    def middle(self) -> float:
        """The value half way up."""
        return math.sqrt(self.top) * math.sqrt(self.bottom) if self.log else self.top / 2 + self.bottom / 2


@dataclass
class Chart:
    """A frame with curves in it.

    Args:
        width: of a line, with the labels.
        height: lines of the curves; one more is the time line, and one its labels.
        axes: what is shown.
        plain: ASCII characters only.
        ranges: show faintly between which values a curve moves.

    >>> chart = Chart(24, 3, Axes(0, 4, 0, 16), plain=True)
    >>> chart.draw(Series([Point(i, 0.0, i * i, i * i, i * i, i) for i in range(5)]))
    >>> chart.mark(2, "red")
    >>> for line in chart.lines():
    ...     print(line.plain.rstrip())
       16 |              .-'
        8 |          .--'
        0 |......-'''
          +--------!--------
           0               4
    """

    width: int
    height: int
    axes: Axes
    plain: bool = False
    ranges: bool = True
    _bits: dict[tuple[int, int], int] = field(default_factory=dict)
    _styles: dict[tuple[int, int], str] = field(default_factory=dict)
    _signs: dict[tuple[int, int], str] = field(default_factory=dict)
    _marks: dict[int, str] = field(default_factory=dict)

    MARGIN = 6  # columns for the labels, beside the axis

    def __post_init__(self) -> None:
        self.columns = max(self.width - self.MARGIN - 1, 1)
        self._wide, self._high = (1, 3) if self.plain else (2, 4)  # dots of a character

    def draw(self, series: Series) -> None:
        """Add a curve. Of a line each column shows the mean, and faintly the range, of what falls into it."""
        if series.dots:
            for point in series.points:
                if math.isfinite(point.mean):
                    x = round(self.axes.across(point.iteration) * (self.columns - 1))
                    y = round(self.axes.down(point.mean) * (self.height - 1))
                    self._signs[x, y], self._styles[x, y] = "o" if self.plain else "●", series.style
            return
        means, ranges = self._columns(series.points)
        gaps = sorted(self._column(point) for point in series.points if not math.isfinite(point.mean))
        last: tuple[int, int] | None = None
        for x in sorted(ranges) if self.ranges else ():
            low, high = ranges[x]
            for y in range(self._row(high), self._row(low) + 1):
                self._dot(x, y, f"dim {series.style}")
        for x, mean in sorted(means.items()):
            y = self._row(mean)
            if last is not None and bisect_right(gaps, last[0]) == bisect_left(gaps, x):
                self._join(last, (x, y), series.style)
            self._dot(x, y, series.style)
            last = (x, y)

    def _join(self, begin: tuple[int, int], end: tuple[int, int], style: str) -> None:
        """A line between two dots: in each column down or up from where it was in the one before."""
        before = begin[1]
        for x in range(begin[0] + 1, end[0] + 1):
            y = round(begin[1] + (x - begin[0]) / (end[0] - begin[0]) * (end[1] - begin[1]))
            start = before + (1 if y > before else -1 if y < before else 0)
            for between in range(min(start, y), max(start, y) + 1):
                self._dot(x, between, style)
            before = y

    def mark(self, iteration: float, style: str) -> None:
        """Mark an iteration on the time line; the last mark of a column holds."""
        if self.axes.left <= iteration <= self.axes.right:
            self._marks[round(self.axes.across(iteration) * (self.columns - 1))] = style

    def lines(self) -> list[Text]:
        """The frame, all lines of the same width."""
        labels = {0: self.axes.top, self.height - 1: self.axes.bottom}
        if self.height % 2 and self.height > 1:
            labels[self.height // 2] = self.axes.middle()
        lines = []
        for y in range(self.height):
            label = _short(labels[y], self.MARGIN - 1) if y in labels else ""
            line = Text.assemble((f"{label:>{self.MARGIN - 1}} {'|' if self.plain else '┤'}", "dim"))
            for x in range(self.columns):
                line.append(self._character(x, y), self._styles.get((x, y), ""))
            lines.append(line)
        corner, floor, mark = ("+", "-", "!") if self.plain else ("┼", "─", "▲")
        line = Text.assemble((" " * self.MARGIN + corner, "dim"))
        for x in range(self.columns):
            line.append(mark if x in self._marks else floor, self._marks.get(x, "dim"))
        lines.append(line)
        left, right = f"{self.axes.left:.0f}", f"{self.axes.right:.0f}"
        log = "log" if self.axes.log else ""
        gap = max(self.columns - len(left) - len(right) - len(log), 0)
        between = f"{' ' * (gap // 2)}{log}{' ' * (gap - gap // 2)}"
        lines.append(Text(" " * (self.MARGIN + 1) + left + between + right, style="dim"))
        for line in lines:
            line.truncate(self.width, pad=True)
        return lines

    def _columns(self, points: Sequence[Point]) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
        """Mean and range by columns of dots."""
        sums: dict[int, list[float]] = {}
        ranges: dict[int, tuple[float, float]] = {}
        for point in points:
            if not math.isfinite(point.mean):
                continue
            x = self._column(point)
            sums.setdefault(x, []).append(min(max(point.mean, self.axes.bottom), self.axes.top))
            low, high = ranges.get(x, (point.low, point.high))
            ranges[x] = (min(low, point.low), max(high, point.high))
        return {x: math.fsum(value / len(values) for value in values) for x, values in sums.items()}, ranges

    def _column(self, point: Point) -> int:
        return round(self.axes.across(point.iteration) * (self.columns * self._wide - 1))

    def _row(self, value: float) -> int:
        return round(self.axes.down(value) * (self.height * self._high - 1))

    def _dot(self, x: int, y: int, style: str) -> None:
        place = (x // self._wide, y // self._high)
        bit = 1 << (y % self._high) if self.plain else DOTS[y % self._high][x % self._wide]
        faint = style.startswith("dim ")
        before = self._styles.get(place, "")
        if not faint and before.startswith("dim "):
            self._bits[place] = 0  # a line in front of a range
        if faint and before and not before.startswith("dim "):
            return
        self._bits[place] = self._bits.get(place, 0) | bit
        self._styles[place] = style

    def _character(self, x: int, y: int) -> str:
        sign, bits = self._signs.get((x, y)), self._bits.get((x, y), 0)
        return sign or (PLAIN[bits] if self.plain else chr(EMPTY + bits)) if sign or bits else " "


def _short(value: float, width: int) -> str:
    """A number in at most ``width`` characters.

    >>> _short(0.000123, 5), _short(12345.6, 5), _short(1.23456, 5), _short(-0.00001, 5), _short(1.8e19, 5)
    ('1e-4', '12346', '1.235', '-1e-5', '2e19')
    """
    tiny = value != 0 and abs(value) < 1e-3
    texts = [f"{value:.{digits}e}" if tiny else f"{value:.{digits}g}" for digits in (4, 3, 2, 1, 0)]
    if 1e3 <= abs(value) < 1e5:
        texts.insert(0, f"{value:.0f}")
    for text in (re.sub(r"e([+-])0*", r"e\1", text).replace("e+", "e") for text in texts):
        if len(text) <= width:
            return text
    return texts[-1][:width]

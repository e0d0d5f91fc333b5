"""What numbers a run has told over its iterations, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ignition.monitor.rows import Columns

FIRST, LAST, TIME, COUNT, MEAN, LOW, HIGH = range(7)  # of a bucket


class Point(NamedTuple):
    """Some iterations of a curve, one while there are few.

    Attributes:
        iteration: the last of them.
        time: of the last, in seconds since 1970; NaN if not known.
        mean, low, high: of the values that are finite; NaN where none is.
        first: the first of the iterations.
    """

    iteration: int
    time: float
    mean: float
    low: float
    high: float
    first: int


class Curve:
    """The values of one number, in at most ``MOST`` buckets: when these are full, each two become one.

    Iterations rise. A value of an iteration that is not after the last replaces all from there on, as it does where a
    run was taken up from before.
    """

    MOST = 4096

    def __init__(self) -> None:
        self.width = 1  # values to a bucket
        self._filled = 0  # of the last one
        self._used = 0
        self._table = np.empty((7, 64))
        self._newest: tuple[int, float] | None = None

    def __len__(self) -> int:
        return self._used

    @property
    def last(self) -> tuple[int, float]:
        """The newest iteration and its value, NaN and infinities as they are."""
        if self._newest is not None:
            return self._newest
        return (int(self._table[LAST, self._used - 1]), float(self._table[MEAN, self._used - 1]))

    def add(self, iterations: np.ndarray, times: np.ndarray, values: np.ndarray) -> None:
        """Take values in, in their order."""
        if len(iterations) == 0:
            return
        later = np.minimum.accumulate(iterations[::-1])[::-1]
        kept = np.append(iterations[:-1] < later[1:], True)  # no later one replaces them
        if not kept.all():
            iterations, times, values = iterations[kept], times[kept], values[kept]
        if self._used and later[0] <= self._table[LAST, self._used - 1]:
            self.cut(later[0])
        self._newest = (int(iterations[-1]), float(values[-1]))
        begin = 0
        while begin < len(iterations):
            if self._used == self.MOST and self._filled == self.width:
                self._halve()
            room = (self.MOST - self._used) * self.width + (self.width - self._filled if self._used else 0)
            end = begin + room
            self._append(iterations[begin:end], times[begin:end], values[begin:end])
            begin = end

    def cut(self, iteration: float) -> None:
        """Forget that iteration and all after it, with what shares a bucket with them."""
        kept = int(np.searchsorted(self._table[LAST, : self._used], iteration))
        if kept < self._used:
            self._used, self._filled, self._newest = kept, self.width, None

    def points(self, most: int = 2000) -> list[Point]:
        """At most ``most`` points, the oldest first."""
        together = -(-self._used // max(most, 1)) if self._used else 1
        table = self._table[:, : self._used]
        if together > 1:
            table = _merged(table, np.arange(0, self._used, together))
        return [
            Point(int(last), time, mean if count else math.nan, low if count else math.nan,
                  high if count else math.nan, int(first))
            for first, last, time, count, mean, low, high in table.T.tolist()
        ]  # fmt: skip

    def _append(self, iterations: np.ndarray, times: np.ndarray, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        count = finite.astype(float)
        table = np.stack([
            iterations, iterations, times, count, np.where(finite, values, 0.0),
            np.where(finite, values, np.inf), np.where(finite, values, -np.inf),
        ])  # fmt: skip
        beside = min(self.width - self._filled, len(iterations)) if self._used else 0
        starts = np.arange(beside, len(iterations), self.width)
        if beside:  # what the last bucket still has room for
            joined = np.concatenate([self._table[:, self._used - 1 : self._used], table[:, :beside]], axis=1)
            self._table[:, self._used - 1] = _merged(joined, np.array([0]))[:, 0]
            self._filled += beside
        if len(starts) == 0:
            return
        fresh = table if self.width == 1 and beside == 0 else _merged(table[:, beside:], starts - beside)
        self._grow(self._used + len(starts))
        self._table[:, self._used : self._used + len(starts)] = fresh
        self._used += len(starts)
        self._filled = len(iterations) - int(starts[-1])

    def _halve(self) -> None:
        half = _merged(self._table[:, : self._used], np.arange(0, self._used, 2))
        self._used = half.shape[1]
        self._table[:, : self._used] = half
        self.width *= 2
        self._filled = self.width

    def _grow(self, needed: int) -> None:
        size = self._table.shape[1]
        if needed > size:
            while size < needed:
                size *= 2
            grown = np.empty((7, min(size, self.MOST)))
            grown[:, : self._used] = self._table[:, : self._used]
            self._table = grown


def _merged(table: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Buckets that begin at ``starts``, of finer ones."""
    ends = np.append(starts[1:], table.shape[1]) - 1
    count = np.add.reduceat(table[COUNT], starts)
    total = np.repeat(np.maximum(count, 1.0), np.diff(np.append(starts, table.shape[1])))
    mean = np.add.reduceat(table[MEAN] * (table[COUNT] / total), starts)  # a sum of large ones would be infinite
    low, high = np.minimum.reduceat(table[LOW], starts), np.maximum.reduceat(table[HIGH], starts)
    return np.stack([table[FIRST, starts], table[LAST, ends], table[TIME, ends], count, mean, low, high])


class Curves:
    """All curves of a run by name; of more than ``MOST_NAMES`` the further ones are counted and left out."""

    MOST_NAMES, LONGEST_NAME = 500, 500

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}
        self._left_out: set[str] = set()
        self.last_iteration = -1

    def __contains__(self, name: str) -> bool:
        return name in self._curves and len(self._curves[name]) > 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @property
    def left_out(self) -> int:
        """How many names there was no room for."""
        return len(self._left_out)

    def names(self) -> list[str]:
        """Those that have values, in the order in which they first came."""
        return [name for name, curve in self._curves.items() if len(curve)]

    def points(self, name: str, most: int = 2000) -> list[Point]:
        """The points of a curve; none where there is no such curve."""
        curve = self._curves.get(name)
        return curve.points(most) if curve is not None else []

    def last(self, name: str) -> tuple[int, float] | None:
        """The newest iteration and value of a curve."""
        return self._curves[name].last if name in self else None

    def best(self, name: str, mode: str) -> tuple[int, float] | None:
        """The iteration and value of the lowest point (``mode`` ``min``) or the highest; None where none is finite."""
        known = [point for point in self.points(name, Curve.MOST) if math.isfinite(point.mean)]
        if not known:
            return None
        if mode == "max":
            point = max(known, key=lambda point: point.high)
            return point.iteration, point.high
        point = min(known, key=lambda point: point.low)
        return point.iteration, point.low

    def add(self, columns: Columns, *, attempts: bool = True) -> None:
        """Take rows in.

        Args:
            columns: of rows in their order.
            attempts: where a row goes back in iterations the run was taken up from before, and all that was told of
                these iterations is told again; else each name goes its own way.
        """
        iterations, times, values = columns
        if len(iterations) == 0:
            return
        kept = None
        if attempts:
            before = np.concatenate([[self.last_iteration], iterations[:-1]])
            again = np.where(iterations < before, iterations, np.inf)  # from where on it is told again
            later = np.minimum.accumulate(again[::-1])[::-1]
            if np.isfinite(later[0]):
                self.cut(later[0])
            kept = iterations < np.append(later[1:], np.inf)
            self.last_iteration = int(iterations[-1])
        else:
            self.last_iteration = max(self.last_iteration, int(iterations.max()))
        for name, (at, numbers) in values.items():
            if kept is not None and not kept.all():
                at, numbers = at[kept[at]], numbers[kept[at]]
            curve = self._curve(name)
            if curve is not None:
                curve.add(iterations[at], times[at], numbers)

    def cut(self, iteration: float) -> None:
        """Forget that iteration and all after it."""
        for curve in self._curves.values():
            curve.cut(iteration)
        self.last_iteration = min(self.last_iteration, int(iteration) - 1)

    def _curve(self, name: str) -> Curve | None:
        curve = self._curves.get(name)
        if curve is None:
            if len(self._curves) >= self.MOST_NAMES or len(name) > self.LONGEST_NAME:
                if len(self._left_out) < self.MOST_NAMES:
                    self._left_out.add(name[: self.LONGEST_NAME])
                return None
            curve = self._curves[name] = Curve()
        return curve

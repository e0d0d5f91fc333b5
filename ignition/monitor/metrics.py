"""The rows of a run's log as curves: a picture of a long log at once, and then all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ignition.monitor.curves import Curves
from ignition.monitor.growing_file import GrowingFile
from ignition.monitor.pace import Pace
from ignition.monitor.rows import Row, columns, rows_of

Reader = Callable[[Sequence[Row]], None]


class Metrics:
    """Follows a file of rows.

    A file of more than ``LARGE`` bytes is first looked at in blocks spread over it, so that there are curves at once.
    Then it is read from its beginning, some of it at each `update`; its curves take the place of the first ones when
    all is read. Meanwhile what is new at its end is added to the first ones.

    Args:
        path: of the file.
        reader: gets all rows in their order, once.

    Attributes:
        bad: lines that are torn or hold no row, and rows that say no iteration.
        rows: how many were read.
    """

    LARGE = 2**24
    SAMPLES, SAMPLE = 256, 2**15  # blocks of the first picture, and their size
    END = 2**19  # of the file's end, which the first picture holds whole
    BLOCK = 2**19

    def __init__(self, path: Path, *, reader: Reader | None = None, begin: Callable[[], None] | None = None):
        self._file = GrowingFile(path)
        self._reader, self._begin = reader, begin
        self._clear()

    def _clear(self) -> None:
        self.curves = self._whole = Curves()
        self.pace = self._pace = Pace()
        self.bad = self.rows = 0
        self._end: GrowingFile | None = None  # follows the end while the beginning is being read

    @property
    def share(self) -> float:
        """How much of the file has been read."""
        return 1.0 if self._end is None else min(self._file.offset / max(self._file.size, 1), 1.0)

    @property
    def problem(self) -> str:
        """Why the file cannot be read; empty where it can."""
        return self._file.problem

    def update(self, seconds: float | None = 0.5) -> bool:
        """Take in what is new, for about so long; None: all of it. Whether anything was.

        Returns:
            True where curves, counts or `share` have changed.
        """
        until = time.monotonic() + (float("inf") if seconds is None else seconds)
        changed = self._file.renewed()
        if changed:
            self._clear()
            if self._begin is not None:
                self._begin()
        if self._file.offset == 0 and self._end is None and self._file.size > self.LARGE and seconds is not None:
            self._sample()
            return True
        if self._end is not None:
            self._end.renewed()
            changed |= self._read(self._end, self.curves, self.pace, until)
        changed |= self._read(self._file, self._whole, self._pace, until, count=True)
        if self._end is not None and self._file.offset >= self._end.offset:
            self.curves, self.pace, self._end = self._whole, self._pace, None
            changed = True
        return changed

    def _read(self, file: GrowingFile, curves: Curves, pace: Pace, until: float, *, count: bool = False) -> bool:
        changed = False
        while lines := file.read(self.BLOCK):
            rows, bad = rows_of(lines)
            taken, without = columns(rows)
            curves.add(taken)
            pace.add(taken.times, taken.iterations)
            changed = True
            if count:
                self.rows += len(rows)
                self.bad += bad + without
                if self._reader is not None:
                    self._reader(rows)
            if time.monotonic() > until:
                break
        return changed

    def _sample(self) -> None:
        """The first picture."""
        self.curves, self.pace = Curves(), Pace()
        end = GrowingFile(self._file.path)
        end.renewed()
        size = end.size
        begins = np.linspace(0, size - self.END - self.SAMPLE, self.SAMPLES).astype(int).tolist()
        lines = b"".join(self._file.around(begin, self.SAMPLE)[1] for begin in begins)
        offset, last = self._file.around(size - self.END, self.END)
        taken, _ = columns(rows_of(lines + last)[0])
        self.curves.add(taken)
        self.pace.add(taken.times[:1], taken.iterations[:1])
        recent, _ = columns(rows_of(last)[0])
        self.pace.add(recent.times, recent.iterations)
        end.seek(offset)
        self._end = end

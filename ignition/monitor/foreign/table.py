"""A table of metrics as text: Lightning's metrics.csv, or any csv whose first line names its columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ignition.monitor.foreign.names import plain
from ignition.monitor.growing_file import GrowingFile

STEPS = ("step", "iteration", "global_step", "iter", "steps", "train_step", "n_iter", "total_steps", "batch", "it")
EPOCHS = ("epoch", "epochs")
TIMES = ("time", "timestamp", "wall_time")


class Table:
    """Follows a csv. Where it has no column of steps its rows are counted by epochs, or else one by one.

    Commas, semicolons or tabulators between the columns, whichever the first line has most of.

    Args:
        path: of the file.
    """

    BLOCK = 2**18

    def __init__(self, path: Path):
        self.path, self.attempts = path, True
        self._file = GrowingFile(path)
        self.facts: dict[str, Any] = {}
        self._begin()

    def _begin(self) -> None:
        self.bad = self._count = 0
        self._header: list[str] = []
        self._step = self._epoch = self._time = -1
        self._delimiter = ","
        self.notes: list[str] = []
        self._wrong = ""

    @property
    def problem(self) -> str:
        """Why it cannot be read; empty where it can."""
        return self._file.problem or self._wrong

    @property
    def by_epochs(self) -> bool:
        """Whether it has a row an epoch."""
        return self._step < 0 and self._epoch >= 0

    def renewed(self) -> bool:
        """Look at the file. Whether it was written anew, as Lightning does when a column comes to it."""
        renewed = self._file.renewed()
        if renewed:
            self._begin()
        return renewed

    def again(self) -> None:
        """Begin anew with the first row."""
        self._file.seek(0)
        self._begin()

    def rows(self) -> list[dict[str, Any]]:
        """The next rows."""
        if self._wrong:
            return []
        rows: list[dict[str, Any]] = []
        while not rows and (block := self._file.read(self.BLOCK)):
            lines = block.decode("utf-8-sig" if not self._header else "utf-8", errors="replace").splitlines()
            if not self._header:
                while lines and not lines[0].strip():
                    lines.pop(0)
                if not lines or not self._begin_with(lines.pop(0)):
                    continue
            try:
                cells = list(csv.reader(lines, delimiter=self._delimiter))
            except csv.Error:
                cells = [line.split(self._delimiter) for line in lines]
            rows += [row for each in cells if each and (row := self._row(each)) is not None]
        return rows

    def _begin_with(self, line: str) -> bool:
        self._delimiter = max(",;\t", key=line.count)
        header = [name.strip() for name in next(csv.reader([line], delimiter=self._delimiter), [])]
        if not header or all(_number(name) is not None for name in header if name):
            self._wrong = "its first line does not name the columns"
            return False
        self._header = header
        short = [plain(name) for name in header]
        self._step, self._epoch, self._time = (
            next((short.index(name) for name in names if name in short), -1) for names in (STEPS, EPOCHS, TIMES)
        )
        if self._step < 0:
            self.notes = ["counted by epochs" if self._epoch >= 0 else "counted by rows: there is no column of steps"]
        return True

    def _row(self, cells: list[str]) -> dict[str, Any] | None:
        if len(cells) != len(self._header):
            self.bad += 1
            return None
        self._count += 1
        place = self._step if self._step >= 0 else self._epoch
        iteration = _number(cells[place]) if place >= 0 else float(self._count)
        if iteration is None:
            self.bad += 1
            return None
        row: dict[str, Any] = {"iteration": iteration}
        for column, (name, text) in enumerate(zip(self._header, cells)):
            if column == place or not name or (value := _number(text)) is None:
                continue
            row["time" if column == self._time else "epoch" if column == self._epoch else name] = value
        return row


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

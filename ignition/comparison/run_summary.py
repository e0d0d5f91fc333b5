"""A run that has ended, read whole from its folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ignition.config.reading import read_file
from ignition.rundir import OF_THE_MACHINE, RunFolder, RunFolderError

Row = Mapping[str, Any]


class ComparisonError(ValueError):
    """Runs cannot be compared; says which, why, and what to do."""


@dataclass(frozen=True)
class Point:
    """A value of a metric: after how many epochs and iterations."""

    epoch: float
    iteration: int
    value: float


@dataclass(frozen=True)
class RunSummary:
    """What a run has left behind.

    Attributes:
        path: its folder.
        status, reason: how it ended; ``killed`` where it says that it runs and nobody is at work on it.
        config: all its settings as plain values.
        rows: the rows of its log; not finite numbers are floats.
        incidents: what the doctor found.
    """

    path: Path
    status: str
    reason: str
    config: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(repr=False)
    incidents: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @classmethod
    def read(cls, path: str | Path) -> RunSummary:
        """The run in the folder ``path``.

        Raises:
            ComparisonError: there is none, it has not ended, or it has no numbers yet.
        """
        try:
            run = RunFolder.open(path)
        except RunFolderError as error:
            raise ComparisonError(str(error)) from error
        if not RunFolder.is_run(path):
            raise ComparisonError(f"{path} holds a run that was never begun")
        status = run.read_status()
        said, reason = status.get("status", "killed"), status.get("reason", "")
        owner = run.owner()
        if owner is not None:
            raise ComparisonError(f"{path} is still going on ({owner}): wait for its end, or stop it")
        if said == "running":
            said, reason = "killed", f"killed after iteration {status.get('iteration', 0)}; go on by --resume"
        document = read_file(run.config_path)
        if not document.whole:
            raise ComparisonError("\n".join(map(str, document.problems)))
        rows = run.read_metrics()
        if not rows:
            raise ComparisonError(f"{path} has no numbers in its log: it ended ({said}) before its first step")
        return cls(Path(path), said, reason, document.root.plain(), rows, run.incidents.read())

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.path.absolute().name

    @property
    def task(self) -> str | None:
        """The recipe's name."""
        return self.config.get("task")

    @property
    def seed(self) -> int | None:
        """What its random choices follow from."""
        return self.config.get("trainer", {}).get("seed")

    @property
    def hypothesis(self) -> str:
        """What it was to show, in words."""
        return self.config.get("hypothesis") or ""

    @property
    def metric(self) -> str:
        """What the best epoch is chosen by."""
        return self.config.get("checkpoint", {}).get("metric", "val/loss")

    @property
    def mode(self) -> str:
        """Whether a lower or a higher value of `metric` is better: ``min`` or ``max``."""
        return self.config.get("checkpoint", {}).get("mode", "min")

    @property
    def complete(self) -> bool:
        """Whether it came to its own end."""
        return self.status in ("finished", "stopped")

    @cached_property
    def series(self) -> dict[str, list[Point]]:
        """Every number of the log by name, in the order of iterations; not the rows of single steps' terms."""
        found: dict[str, list[Point]] = {}
        for row in self.rows:
            epoch, iteration = row.get("epoch", 0), row.get("iteration", 0)
            for name, value in row.items():
                if "/" in name and isinstance(value, (int, float)) and name not in OF_THE_MACHINE:
                    found.setdefault(name, []).append(Point(epoch, iteration, float(value)))
        return found

    def values(self, name: str) -> list[float]:
        """The values of a number, in the order of iterations; empty where it was never logged."""
        return [point.value for point in self.series.get(name, [])]

    @cached_property
    def best_epoch(self) -> float:
        """The epoch whose evaluation has the best value of `metric`; NaN where there is none."""
        points = [point for point in self.series.get(self.metric, []) if math.isfinite(point.value)]
        points = [point for point in points if point.iteration > 0] or points
        if not points:
            return math.nan
        choose = min if self.mode == "min" else max
        return choose(points, key=lambda point: point.value).epoch

    @property
    def seconds(self) -> float:
        """From the first row of the log to the last; where the run was interrupted, with the time between."""
        times = [row["time"] for row in self.rows if "time" in row]
        return max(times) - min(times) if times else math.nan


def first_difference(one: RunSummary, other: RunSummary) -> str | None:
    """Where the numbers of two runs begin to differ, in words; None where they are the same, bit for bit."""
    for mine, theirs in zip(_plain(one.rows), _plain(other.rows)):
        for name in sorted(mine.keys() | theirs.keys()):
            value, theirs_value = mine.get(name), theirs.get(name)
            if value != theirs_value and not (_nan(value) and _nan(theirs_value)):
                return f"iteration {mine.get('iteration')}, {name}: {value!r} and {theirs_value!r}"
    mine_count, their_count = len(_plain(one.rows)), len(_plain(other.rows))
    return None if mine_count == their_count else f"one has {mine_count} rows, the other {their_count}"


def _plain(rows: Iterable[Row]) -> list[dict[str, Any]]:
    kept = ({name: value for name, value in row.items() if name not in OF_THE_MACHINE} for row in rows)
    return [row for row in kept if set(row) - {"iteration", "epoch"}]


def _nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)

"""What came out of a run, as a table: each metric beside the trivial predictor's and at the best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]


class Summary:
    """The validation metrics of a run's rows: before training, last, best, and what a trivial predictor scores.

    Args:
        rows: rows of metrics.jsonl, in any order of epochs; a later row of an iteration counts more.
        metric, mode: what the best epoch is chosen by.

    >>> rows = [{"iteration": 0, "epoch": 0, "baseline/epe": 9.0},
    ...         {"iteration": 5, "epoch": 1, "val/epe": 3.0}, {"iteration": 10, "epoch": 2, "val/epe": 4.0}]
    >>> summary = Summary(rows, metric="val/epe", mode="min")
    >>> summary.best_epoch, summary.best["val/epe"], summary.last["val/epe"], summary.baseline["val/epe"]
    (1, 3.0, 4.0, 9.0)
    """

    def __init__(self, rows: Iterable[Row], *, metric: str, mode: str):
        self.metric = metric
        self.baseline: dict[str, float] = {}
        self.before: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.train: dict[int, float] = {}
        self.others: dict[str, float] = {}
        self.test: dict[str, float] = {}
        self.best_epoch = self.last_epoch = self.skipped = 0
        for row in rows:
            self._add(row, mode)

    def _add(self, row: Row, mode: str) -> None:
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        if "train/epoch_avg_loss" in numbers:
            self.train[row["epoch"]] = numbers["train/epoch_avg_loss"]
        self.skipped = int(numbers.get("data/skipped", self.skipped))
        for name, value in numbers.items():
            if name.startswith("baseline/"):
                self.baseline["val/" + name.removeprefix("baseline/")] = value
            elif "/before/" in name or "/after/" in name:
                self.others[name] = value
            elif name.startswith("test/"):
                self.test["val/" + name.removeprefix("test/")] = value
        val = {name: value for name, value in numbers.items() if name.startswith("val/")}
        if not val:
            return
        if row["iteration"] == 0:
            self.before = val
            return
        self.last, self.last_epoch = val, row["epoch"]
        score, best = val.get(self.metric, math.nan), self.best.get(self.metric)
        if math.isfinite(score) and (best is None or (score < best if mode == "min" else score > best)):
            self.best, self.best_epoch = val, row["epoch"]

    @property
    def gap(self) -> float:
        """Validation loss less training loss, at the best epoch; NaN where one of them is missing."""
        return self.best.get("val/loss", math.nan) - self.train.get(self.best_epoch, math.nan)

    def table(self) -> Table:
        """For a person."""
        table = Table(title_justify="left", header_style="bold")
        table.add_column("metric")
        if self.baseline:
            table.add_column("trivial", justify="right")
        if self.before:
            table.add_column("before", justify="right")
        table.add_column(f"best (epoch {self.best_epoch})", justify="right")
        table.add_column(f"last (epoch {self.last_epoch})", justify="right")
        if self.test:
            table.add_column("test", justify="right")
        for name in self.last:
            if name.startswith("val/signal/"):
                continue
            cells = [name.removeprefix("val/")]
            trivial = self.baseline.get(name.replace("val/ema/", "val/", 1))  # one for both weights
            cells += [_number(trivial)] if self.baseline else []
            cells += [_number(self.before.get(name))] if self.before else []
            cells += [_number(self.best.get(name)), _number(self.last.get(name))]
            cells += [_number(self.test.get(name))] if self.test else []
            table.add_row(*cells)
        return table

    def others_table(self) -> Table | None:
        """Further validation sets before and after training: what fine-tuning made the model forget."""
        if not self.others:
            return None
        table = Table(header_style="bold")
        for column in ("data and metric", "before", "after", "change"):
            table.add_column(column, justify="left" if column.startswith("data") else "right")
        for name, before in self.others.items():
            if "/before/" in name:
                after = self.others.get(name.replace("/before/", "/after/"), math.nan)
                table.add_row(name.replace("/before/", " "), _number(before), _number(after), f"{after - before:+.3f}")
        return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10000 else f"{value:.4g}"

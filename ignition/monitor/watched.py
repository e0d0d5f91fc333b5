"""A run that is followed by its files, dead or alive; nothing is ever written into it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ignition.monitor.curves import Curves
from ignition.monitor.diagnosis import Diagnosis
from ignition.monitor.growing_file import GrowingFile
from ignition.monitor.incidents import Incident, Incidents
from ignition.monitor.metrics import Metrics
from ignition.monitor.rows import Row
from ignition.monitor.state import State
from ignition.process import is_alive
from ignition.review.objection import Objection
from ignition.rundir import RunFolder
from ignition.stability.number import finite

SILENT = (
    60.0  # seconds without a row before a run is called so; three times its longest silence before, if that is more
)


class Watched:
    """One run.

    Args:
        path: its folder; it may have nothing in it yet.

    Attributes:
        curves: what its rows told; `Curves`.
        state: how it stands; `State`. Seconds since the newest row are those of the last `update`.
        settings: its config as text.
        objections: what was objected to in its config.
        pictures: of the newest epoch that has some, by name.
    """

    PICTURES = 40

    def __init__(self, path: str | Path):
        self.run = RunFolder(path)
        self.path, self.name = self.run.path, self.run.path.name
        self._diagnosis: Diagnosis | None = None
        self._metrics = Metrics(self.run.metrics.path, reader=self._diagnose, begin=self._begin)
        self._incidents_file = GrowingFile(self.run.incidents.path)
        self._incidents = Incidents()
        self._status: dict[str, Any] = {}
        self._seen: dict[Path, Any] = {}
        self._problems: dict[str, str] = {}
        self._config: dict[str, Any] = {}
        self.settings = ""
        self.objections: list[Objection] = []
        self.pictures: list[Path] = []
        self.state = State()

    @property
    def curves(self) -> Curves:
        """What its rows told."""
        return self._metrics.curves

    @property
    def findings(self) -> list[Incident]:
        """What its doctor found, or where it had none, ours in its rows; the oldest first."""
        return (self._diagnosis.incidents if self._diagnosis is not None else self._incidents).found

    @property
    def notes(self) -> list[str]:
        """What is to be known about how it was read."""
        if self._diagnosis is None:
            return []
        note = "stability.watch=false: the findings are the monitor's own, from the rows"
        weights = self._config.get("loss", {})
        if any(isinstance(weight, dict) for weight in weights.values()):
            note += "; it does not know of the schedules of loss weights"
        return [note]

    @property
    def begun(self) -> bool:
        """Whether the folder holds something that only a run of ours leaves."""
        return RunFolder.is_run(self.path) or self.run.metrics.path.exists() or self.run.status_path.exists()

    @property
    def problems(self) -> list[str]:
        """What could not be read, in words."""
        rows, incidents = self.run.metrics.path.name, self.run.incidents.path.name
        bad = {rows: self._metrics.bad, incidents: self._incidents.bad}
        told = [f"{name}: {count} lines could not be read" for name, count in bad.items() if count]
        if self.curves.left_out:
            told.append(f"{rows}: {self.curves.left_out} or more names of numbers are left out")
        problems = {rows: self._metrics.problem, incidents: self._incidents_file.problem, **self._problems}
        return told + [f"{name}: {problem}" for name, problem in problems.items() if problem]

    def update(self, seconds: float | None = 0.5) -> bool:
        """Read what is new, for about so long; None: all of it. Whether anything has changed but the time of day.

        Raises nothing: what cannot be read is told by `problems`.
        """
        changed = False
        if self._new(self.run.status_path):
            self._status = self.run.read_status()
            changed = True
        if self._new(self.run.config_path):
            self.settings = self._text(self.run.config_path)
            self._config = _settings_of(self.settings)
            if self._diagnosis is None and self._config.get("stability", {}).get("watch") is False:
                self._diagnosis = Diagnosis.of_config(self._config)
            changed = True
        if self._new(self.run.review_path):
            self.objections = self._review()
            changed = True
        if self._new(self.run.pictures):
            self.pictures = self._newest_pictures()
            changed = True
        changed |= self._metrics.update(seconds)
        changed |= self._incidents.read(self._incidents_file)
        self.state = self._state()
        return changed

    def _diagnose(self, rows: Sequence[Row]) -> None:
        if self._diagnosis is not None:
            self._diagnosis.read(rows)

    def _begin(self) -> None:
        if self._diagnosis is not None:
            self._diagnosis.begin()

    # ------------------------------------------------------------------------------------------------ small files

    def _new(self, path: Path) -> bool:
        """Whether a file or folder is another one than at the last look."""
        try:
            found = os.stat(path)
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        except OSError:
            seen = None
        before = self._seen.get(path)
        self._seen[path] = seen
        return seen != before

    def _text(self, path: Path) -> str:
        self._problems.pop(path.name, None)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._problems[path.name] = f"{error.strerror or error}"
            return ""

    def _review(self) -> list[Objection]:
        path, self.objections = self.run.review_path, []
        text = self._text(path)
        try:
            rows = json.loads(text)["objections"] if text else []
            return [Objection.of(row) for row in rows]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._problems[path.name] = "is no review"
            return []

    def _newest_pictures(self) -> list[Path]:
        try:
            names = sorted(entry.name for entry in os.scandir(self.run.pictures) if entry.name.endswith(".png"))
        except OSError:
            return []
        if not names:
            return []
        epoch = names[-1].split("-")[:2]
        return [self.run.pictures / name for name in names if name.split("-")[:2] == epoch][: self.PICTURES]

    # ------------------------------------------------------------------------------------------------ how it stands

    def _state(self) -> State:
        status, curves, pace = self._status, self.curves, self._metrics.pace
        newest = curves.last_iteration if curves.last_iteration >= 0 else None
        told = _whole(status.get("iteration"))
        iteration = max((value for value in (newest, told) if value is not None), default=None)
        epochs = _whole(status.get("epochs"))
        checkpoint = self._config.get("checkpoint", {})
        metric = status.get("metric") or checkpoint.get("metric")
        metric = metric if isinstance(metric, str) else None
        mode = "max" if checkpoint.get("mode") == "max" else "min"
        iterations = self._iterations(epochs)
        life, reason = self._life(pace.newest, pace.longest_gap)
        each = pace.seconds_per_iteration
        left = None
        if life in ("running", "silent") and each is not None and iterations and iteration is not None:
            left = max(iterations - iteration, 0) * each
        return State(
            status=life,
            reason=reason,
            epoch=self._epoch(),
            epochs=epochs,
            iteration=iteration,
            iterations=iterations,
            steps_per_second=pace.steps_per_second,
            seconds_left=left,
            silent_seconds=max(time.time() - pace.newest, 0.0) if pace.newest else None,
            seconds=pace.newest - pace.oldest if pace.newest else None,
            learning_rate=self._last("train/learning_rate"),
            disk_left=self._disk_left(),
            checkpoint=status.get("last_checkpoint") if isinstance(status.get("last_checkpoint"), str) else None,
            read=self._metrics.share,
            **scores(curves, metric, mode, finite(status.get("best"))),
        )

    def _life(self, newest: float, longest_gap: float) -> tuple[str, str]:
        status, reason = self._status.get("status"), self._status.get("reason")
        status = status if isinstance(status, str) else ""
        reason = reason if isinstance(reason, str) else ""
        if not status:
            return ("running" if newest or self.curves.last_iteration >= 0 else "waiting"), ""
        if status != "running":
            return status, reason
        silent = time.time() - max(newest, self._touched())
        pid = _whole(self._status.get("pid"))
        if pid is not None and self._status.get("host") == socket.gethostname() and not is_alive(pid):
            return "dead", f"its process {pid} is gone and has not said why: killed, or out of memory"
        if silent > max(SILENT, 3 * longest_gap):
            return "silent", "no row for longer than usual"
        return status, reason

    def _touched(self) -> float:
        """When status.json was written last."""
        seen = self._seen.get(self.run.status_path)
        return seen[2] / 1e9 if seen else 0.0

    def _iterations(self, epochs: int | None) -> int | None:
        """The last one: as the run says, else by the length of an epoch that has ended."""
        told = _whole(self._status.get("iterations"))
        if told:
            return told
        first = self.curves.points("train/epoch_avg_loss")[:1]
        return first[0].first * epochs if first and epochs else None

    def _epoch(self) -> int | None:
        last = self.curves.last("train/epoch")
        return int(last[1]) if last is not None else _whole(self._status.get("epoch"))

    def _last(self, name: str) -> float | None:
        last = self.curves.last(name)
        return last[1] if last else None

    def _disk_left(self) -> int | None:
        try:
            return shutil.disk_usage(self.path).free
        except OSError:
            return None


def scores(curves: Curves, metric: str | None, mode: str, best: float | None = None) -> dict[str, Any]:
    """What curves say about how good a run is: the part of `State` from ``metric`` to ``gap``."""
    found = curves.best(metric, mode) if metric else None
    last = curves.last(metric) if metric else None
    trivial = curves.last("baseline/" + metric.removeprefix("val/").removeprefix("ema/")) if metric else None
    loss, val_loss = curves.last("train/epoch_avg_loss"), curves.last("val/loss")
    return {
        "metric": metric,
        "mode": mode,
        "best": best if best is not None else found[1] if found else None,
        "best_iteration": found[0] if found else None,
        "last": last[1] if last else None,
        "trivial": trivial[1] if trivial else None,
        "loss": loss[1] if loss else None,
        "val_loss": val_loss[1] if val_loss else None,
        "gap": val_loss[1] - loss[1] if loss and val_loss else None,
    }


def _settings_of(text: str) -> dict[str, Any]:
    """The config's sections, as far as the text has some."""
    try:
        values = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe  # nosec B506
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(name): value for name, value in values.items() if isinstance(value, dict)}


def _whole(value: Any) -> int | None:
    number = finite(value)
    return int(number) if number is not None else None

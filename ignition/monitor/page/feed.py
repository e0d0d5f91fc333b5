"""What a page has to be told: all of it at first, then only what is new."""

from __future__ import annotations

import itertools
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ignition.monitor.curves import Curves, Point
from ignition.monitor.run import Run

PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


class Feed:
    """The runs of a page, and since when each part of them is as it is.

    Files are read when somebody asks, at most every ``seconds`` however many ask; where nobody looks nothing is read.

    Args:
        runs: in the order in which the page shows them.
        seconds: between two looks at the files.
        clock: monotonic seconds, for tests.
    """

    def __init__(
        self, runs: Sequence[Run], *, seconds: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = [_Followed(number, run) for number, run in enumerate(runs)]
        self._seconds, self._clock = seconds, clock
        self._version, self._looked = 0, -math.inf
        self._lock = threading.Lock()
        self.name = secrets.token_hex(8)  # a page that knows another feed begins anew

    def since(self, version: int = 0, name: str = "") -> dict[str, Any]:
        """What has changed after ``version`` of the feed ``name``, as plain values; all, where that is another feed.

        The answer holds ``feed`` and ``version`` to ask with the next time.
        """
        with self._lock:
            self._look()
            known = version if name == self.name and 0 <= version <= self._version else 0
            runs = [run.since(known) for run in self._runs]
            return {"feed": self.name, "version": self._version, "whole": known == 0, "now": time.time(), "runs": runs}

    def picture(self, run: int, name: str) -> Path | None:
        """The file of a picture that the page has been told of; None for any other, and for a link out of the run."""
        with self._lock:
            if not 0 <= run < len(self._runs):
                return None
            path = self._runs[run].pictures.get(name)
            folder = self._runs[run].watched.path
        try:
            inside = path is not None and path.resolve(strict=True).is_relative_to(folder.resolve())
        except OSError:
            return None
        return path if inside else None

    def _look(self) -> None:
        if self._clock() - self._looked < self._seconds:
            return
        self._version += 1
        for run in self._runs:
            run.look(self._version)
        self._looked = self._clock()


class _Followed:
    """A run and the versions in which its parts have changed."""

    CURVE, FINDINGS = 1000, 500  # points of a curve, findings: what a page is told at most

    def __init__(self, number: int, watched: Run) -> None:
        self.number, self.watched = number, watched
        self.pictures: dict[str, Path] = {}
        self._parts: dict[str, _Part] = {}
        self._curves: dict[str, _Row] = {}
        self._read: Curves | None = None
        self._newest: dict[str, Any] = {}
        self._findings = _Row()

    def look(self, version: int) -> None:
        run = self.watched
        if run.update() or version == 1:
            if run.curves is not self._read:  # others in their place: the same newest value may stand for another curve
                self._newest, self._read = {}, run.curves
            names = run.curves.names()
            for gone in self._curves.keys() - set(names):  # a run taken up from before they came
                self._curves[gone].put([], version)
                self._newest.pop(gone, None)
            for name in names:
                newest = run.curves.last(name)
                if newest != self._newest.get(name):
                    self._newest[name] = newest
                    self._curves.setdefault(name, _Row()).put(run.curves.points(name, self.CURVE), version)
            self._findings.put(run.findings, version)
        self.pictures = {path.name: path for path in run.pictures if _can_be_asked_for(path)}
        parts = {
            "name": run.name,
            "path": str(run.path),
            "state": _plain(_state(run)),
            "settings": run.settings,
            "objections": [objection.row() for objection in run.objections],
            "pictures": [{"name": name, "changed": _changed(path)} for name, path in self.pictures.items()],
            "problems": list(run.problems),
            "notes": list(run.notes),
        }
        for part, value in parts.items():
            self._parts.setdefault(part, _Part()).put(value, version)

    def since(self, version: int) -> dict[str, Any]:
        told: dict[str, Any] = {name: part.value for name, part in self._parts.items() if part.version > version}
        curves = {name: news for name, curve in self._curves.items() if (news := _curve(curve, version)) is not None}
        if curves:
            told["curves"] = curves
        begin = self._findings.since(version)
        if begin is not None:
            total = len(self._findings.items)
            begin = max(begin, total - self.FINDINGS)
            rows = [_finding(item) for item in self._findings.items[begin:]]
            told["findings"] = {"from": begin, "total": total, "rows": rows}
        return {"id": self.number, **told}


class _Part:
    """A value, and the version in which it became what it is."""

    def __init__(self) -> None:
        self.value: Any = None
        self.version = 0

    def put(self, value: Any, version: int) -> None:
        if self.version == 0 or value != self.value:
            self.value, self.version = value, version


class _Row:
    """A list that mostly grows at its end, and from where on it has changed since each version."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changes: list[tuple[int, int]] = []  # (version, first changed place), both rising

    def put(self, items: Sequence[Any], version: int) -> None:
        same = 0
        for before, now in zip(self.items, items, strict=False):
            if before != now and not _same(before, now):
                break
            same += 1
        changed = same < len(items) or same < len(self.items) or not self._changes
        self.items = list(items)
        if changed:
            self._changes = [*itertools.takewhile(lambda change: change[1] < same, self._changes), (version, same)]

    def since(self, version: int) -> int | None:
        """The first place that is another one than in ``version``; None where all is as it was."""
        return next((place for changed, place in self._changes if changed > version), None)


def _same(one: Any, other: Any) -> bool:
    """Whether two points are the same where NaN equals NaN."""
    if not isinstance(one, Point) or not isinstance(other, Point):
        return False
    return all(a == b or (a != a and b != b) for a, b in zip(one, other))


def _curve(row: _Row, version: int) -> dict[str, Any] | None:
    """What is new of a curve, by columns; where points stand for one value each, without their range."""
    begin = row.since(version)
    if begin is None:
        return None
    points = row.items[begin:]
    news = {
        "from": begin,
        "at": [point.iteration for point in points],
        "time": [_number(point.time, 13) for point in points],
        "mean": [_number(point.mean) for point in points],
    }
    if any(point.low != point.high for point in points):
        news["low"] = [_number(point.low) for point in points]
        news["high"] = [_number(point.high) for point in points]
    return news


def _number(value: float, digits: int = 6) -> float | None:
    """``value`` as JSON knows it, and no longer than anybody can see."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _state(run: Run) -> dict[str, Any]:
    state = run.state
    return {**asdict(state), "share": state.share, "alive": state.alive, "lost": state.lost}


def _finding(incident: Any) -> dict[str, Any]:
    return _plain(asdict(incident))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without numbers that JSON does not know."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def _can_be_asked_for(path: Path) -> bool:
    """Whether it is a picture, and its name text that an address can hold."""
    return path.suffix.lower() in PICTURE_TYPES and path.name.isprintable()


def _changed(path: Path) -> int:
    """When a file was written, so that a picture under an old name is fetched again."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

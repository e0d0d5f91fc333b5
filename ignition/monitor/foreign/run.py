"""A run of somebody else's, followed by its log, with what the doctor finds in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ignition.monitor.curves import Curves
from ignition.monitor.diagnosis import Diagnosis
from ignition.monitor.foreign.names import AMBIGUOUS, BATCH, EPOCH, PLACE, VAL, Names, plain
from ignition.monitor.foreign.source import Source
from ignition.monitor.incidents import Incident
from ignition.monitor.pace import Pace
from ignition.monitor.rows import columns
from ignition.monitor.state import State
from ignition.monitor.watched import scores
from ignition.review.objection import Objection
from ignition.stability.number import finite


class Foreign:
    """Such a run; to those who show it the same as `Watched`.

    Args:
        source: its log.
        path: as it was asked for.
        names: ours by theirs, said by a person.
        passed_over: names that mean something else in this kind of log.

    Attributes:
        name, path, state, pictures, objections, settings: as of `Watched`; of the last three there are none.
    """

    def __init__(self, source: Source, path: Path, *, names: Mapping[str, str] | None = None, passed_over: str = ""):
        self.path, self.name = path, path.name
        self._source, self._given, self._passed_over = source, dict(names or {}), passed_over
        self.settings = ""
        self.objections: list[Objection] = []
        self.pictures: list[Path] = []
        self._diagnosis = Diagnosis()
        self.state = State(status="waiting")
        self._begin()

    def _begin(self) -> None:
        self.curves, self._pace = Curves(), Pace()
        self._names: Names | None = None
        self._provisional = False  # they could not be known for sure yet
        self._held: list[dict[str, Any]] = []  # rows that wait until their names are known
        self._means = Means()
        self._epoch: float | None = None
        self._without = 0
        self._diagnosis.begin()

    @property
    def findings(self) -> list[Incident]:
        """What the doctor found in its rows."""
        return self._diagnosis.incidents.found

    @property
    def problems(self) -> list[str]:
        """What could not be read, in words."""
        name, bad = self._source.path.name, self._source.bad + self._without
        told = [f"{name}: {bad} {'rows' if bad > 1 else 'row'} could not be read"] if bad else []
        return told + ([f"{name}: {self._source.problem}"] if self._source.problem else [])

    @property
    def notes(self) -> list[str]:
        """What was taken for what."""
        means = [Means.NOTE] if self._means.told else []
        return [*self._source.notes, *(self._names.notes() if self._names is not None else []), *means]

    def update(self, seconds: float | None = 0.5) -> bool:
        """Read what is new, for about so long; None: all of it. Whether anything has changed but the time of day."""
        until = time.monotonic() + (float("inf") if seconds is None else seconds)
        changed = self._source.renewed()
        if changed:
            self._begin()
        more = True
        while more and time.monotonic() < until:
            rows = self._source.rows()
            more = bool(rows)
            changed |= more
            if more:
                self._take(rows)
        if self._held and not more:  # nothing else comes for now to say what they are
            self._take([], hold=False)
        self.state = self._state(read=0.0 if more else 1.0)
        return changed

    # ------------------------------------------------------------------------------------------------ rows

    def _take(self, rows: list[dict[str, Any]], *, hold: bool = True) -> None:
        if self._provisional:
            self._begin()
            self._source.again()
            return
        self._held += rows
        if self._names is None:
            of_epochs = once_an_epoch(self._held)
            if of_epochs is None and hold:
                return
            self._provisional = of_epochs is None
            by_epochs = self._source.by_epochs
            self._names = Names(self._given, by_epochs=by_epochs, passed_over=self._passed_over)
            self._learn(self._held, frozenset(of_epochs or ()))
        elif self._learn(self._held):  # a more telling name has come: what was read is to be read again
            self._again()
            return
        rows, self._held = self._held, []
        self._read(joined(self._renamed(row) for row in rows))

    def _again(self) -> None:
        names = self._names
        self._begin()
        self._names = names
        self._source.again()

    def _learn(self, rows: list[dict[str, Any]], of_epochs: frozenset[str] = frozenset()) -> bool:
        assert self._names is not None
        new = dict.fromkeys(name for row in rows for name in row if name not in self._names.seen)
        return self._names.learn(list(new), of_epochs=of_epochs) if new else False

    def _renamed(self, row: dict[str, Any]) -> dict[str, Any]:
        assert self._names is not None
        return {self._names.name(name): value for name, value in row.items()}

    def _read(self, rows: Iterable[dict[str, Any]]) -> None:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            if "rewind" in row:
                self._add(waiting)
                waiting = []
                self.curves.cut(row["rewind"])
            else:
                waiting.append(row)
        self._add(waiting)

    def _add(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        if self._names is not None and EPOCH not in self._names.ours.values():
            rows = self._means.added(rows)
        taken, without = columns(rows)
        self._without += without
        self.curves.add(taken, attempts=self._source.attempts)
        self._pace.add(taken.times, taken.iterations)
        self._diagnosis.read(rows)
        self._epoch = next((row["epoch"] for row in reversed(rows) if "epoch" in row), self._epoch)

    # ------------------------------------------------------------------------------------------------ how it stands

    def _state(self, read: float) -> State:
        curves, facts = self.curves, self._source.facts
        if curves.last_iteration < 0:
            return State(status="waiting")
        epoch = finite(facts.get("epoch", self._epoch))
        iterations = finite(facts.get("iterations"))
        epochs = finite(facts.get("epochs"))
        rate = curves.last("train/learning_rate")
        return State(
            status="log",
            epoch=int(epoch) if epoch is not None else None,
            epochs=round(epochs) if epochs else None,
            iteration=curves.last_iteration,
            iterations=int(iterations) if iterations else None,
            steps_per_second=self._pace.steps_per_second,
            silent_seconds=max(time.time() - self._written(), 0.0),
            seconds=self._pace.newest - self._pace.oldest if self._pace.newest else None,
            learning_rate=rate[1] if rate else None,
            disk_left=self._disk_left(),
            read=read,
            **scores(curves, "val/loss" if "val/loss" in curves else None, "min"),
        )

    def _written(self) -> float:
        try:
            return self._pace.newest or self._source.path.stat().st_mtime
        except OSError:
            return time.time()

    def _disk_left(self) -> int | None:
        try:
            return shutil.disk_usage(self.path if self.path.is_dir() else self.path.parent).free
        except OSError:
            return None


class Means:
    """Gives each evaluation the mean of the batches' losses since the one before, where a log has no means itself.

    Attributes:
        told: whether there was one.
    """

    NOTE = f"{EPOCH} = mean of {BATCH} since the evaluation before"

    def __init__(self) -> None:
        self.told = False
        self._losses: list[float] = []

    def added(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the means in them."""
        done = []
        for row in rows:
            loss = finite(row.get(BATCH))
            if loss is not None:
                self._losses.append(loss)
            if VAL in row and self._losses:
                row = {**row, EPOCH: sum(self._losses) / len(self._losses)}
                self._losses, self.told = [], True
            done.append(row)
        return done


def once_an_epoch(rows: list[dict[str, Any]]) -> list[str] | None:
    """Which losses that do not say of what they are have come once in each epoch; None while that cannot be known.

    >>> once_an_epoch([{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}])
    ['loss']
    >>> once_an_epoch([{"epoch": 0, "loss": 1.0}, {"epoch": 0, "loss": 0.5}])
    []
    >>> once_an_epoch([{"epoch": 0.5, "loss": 1.0}, {"epoch": 1.0, "loss": 0.5}])
    []
    """
    epochs: dict[str, list[Any]] = {}
    for row in rows:
        for name in row:
            if plain(name) in AMBIGUOUS:
                epochs.setdefault(name, []).append(row.get("epoch"))
    if any(len(known) < 2 and known[0] is not None for known in epochs.values()):
        return None
    return [name for name, known in epochs.items() if all(map(_is_whole, known)) and len(set(known)) == len(known)]


def _is_whole(epoch: Any) -> bool:
    return isinstance(epoch, (int, float)) and float(epoch).is_integer()


def joined(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows beside each other that are of one iteration as one, unless they tell the same number twice."""
    done: list[dict[str, Any]] = []
    for row in rows:
        last = done[-1] if done else {}
        same = last.get("iteration") == row.get("iteration") is not None and "rewind" not in {*row, *last}
        if same and not (last.keys() & row.keys()) - set(PLACE):
            last.update(row)
        else:
            done.append(dict(row))
    return done

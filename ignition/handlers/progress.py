"""How far a run is: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from typing import Any

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from ignition import distributed

Row = dict[str, Any]


class Progress:
    """Shows epoch, loss, learning rate, speed and time left; and a line for every epoch that is done.

    It is a writer of rows as well: give it to `MetricsLog` so that it knows loss and metrics.

    Args:
        console: where to write; standard error if None. A bar is drawn only where it is a terminal.
        metrics: names of the row entries shown in an epoch's line, in this order; besides them, as many of an
            evaluation's first metrics as make ``SHOWN``.
        every_seconds: how often a run that is not on a terminal says how far it is within an epoch.
    """

    SHOWN = 2

    def __init__(self, *, console: Console | None = None, metrics: tuple[str, ...] = (), every_seconds: float = 30.0):
        self.console = console or Console(stderr=True)
        self.metrics, self.every_seconds = metrics, every_seconds
        self.row: Row = {}
        self._bar: Bar | None = None
        self._task: Any = None
        self._began = self._shown = 0.0
        self._first = 0

    def attach(self, trainer: Engine) -> None:
        """Follow ``trainer``. Attach it last, so that an epoch's line has the evaluation in it."""
        if distributed.rank() != 0:
            return
        trainer.add_event_handler(Events.STARTED, self.start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.advance)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.end_epoch)
        for end in (Events.COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED):
            trainer.add_event_handler(end, self.close)

    def __call__(self, row: Row) -> None:
        self.row.update(row)

    def start(self, engine: Engine) -> None:
        """Begin to count time; what a resumed run did before is not counted as speed."""
        self._began = self._shown = time.monotonic()
        self._first = engine.state.iteration
        self.row.clear()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
            self._bar = Bar(*columns, console=self.console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=_last(engine), completed=self._first, state="")
            self._bar.start()

    def advance(self, engine: Engine) -> None:
        """Called every iteration: looks at the clock, and now and then at the rest."""
        now = time.monotonic()
        wait = 0.25 if self._bar is not None else self.every_seconds
        if now - self._shown < wait:
            return
        self._shown = now
        if self._bar is not None:
            self._bar.update(self._task, completed=engine.state.iteration, description=_epoch(engine),
                             state=self._describe(engine))  # fmt: skip
        else:
            self._line(f"{_epoch(engine)} · {self._describe(engine)}")

    def end_epoch(self, engine: Engine) -> None:
        """One line for the epoch that is done."""
        parts = [_epoch(engine)]
        if "train/epoch_avg_loss" in self.row:
            parts.append(f"loss {self.row['train/epoch_avg_loss']:.4g}")
        parts += [f"{name} {self.row[name]:.4g}" for name in self._shown_metrics()]
        if "train/learning_rate" in self.row:
            parts.append(f"lr {self.row['train/learning_rate']:.2e}")
        parts.append(self._speed(engine))
        self._shown = time.monotonic()
        self._line(" · ".join(parts))

    def _shown_metrics(self) -> list[str]:
        asked = [name for name in self.metrics if name in self.row]
        others = [name for name in self.row if name.startswith("val/") and name.count("/") == 1 and name not in asked]
        return asked + others[: max(self.SHOWN - len(asked), 0)]

    def close(self, engine: Engine, error: BaseException | None = None) -> None:
        """Take the bar away; an error goes on its way."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if error is not None:
            raise error

    def _describe(self, engine: Engine) -> str:
        parts = []
        if "train/batch_loss" in self.row:
            parts.append(f"loss {self.row['train/batch_loss']:.4g}")
        if "train/learning_rate" in self.row:
            parts.append(f"lr {self.row['train/learning_rate']:.2e}")
        return " · ".join([*parts, self._speed(engine)])

    def _speed(self, engine: Engine) -> str:
        """Iterations a second since this process began, evaluations included, and what that means for the rest."""
        done = engine.state.iteration - self._first
        seconds = time.monotonic() - self._began
        if done <= 0 or seconds <= 0:
            return ""
        left = max(_last(engine) - engine.state.iteration, 0) * seconds / done
        return f"{done / seconds:.3g} it/s · {duration(left)} left"

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time as a person says it.

    >>> duration(42), duration(125), duration(7300)
    ('42 s', '2 min 05 s', '2 h 01 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _epoch(engine: Engine) -> str:
    width = len(str(engine.state.max_epochs))
    return f"epoch {engine.state.epoch:>{width}}/{engine.state.max_epochs}"


def _last(engine: Engine) -> int:
    return (engine.state.epoch_length or 0) * (engine.state.max_epochs or 1)

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

    Speed is that of training alone, since the first iteration of this process, which compiles. The time left counts
    what happens at an epoch's end too, evaluations and saving, once there was one. It is left out where nobody knows
    it: data of unknown length, and a run that is about to stop.

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
        self._shown = 0.0  # when something was shown last
        self._told = 0  # the iteration of the last line
        self._pace = _Pace()

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
        self._shown, self._told = time.monotonic(), engine.state.iteration
        self._pace = _Pace()
        self.row.clear()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
            self._bar = Bar(*columns, console=self.console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=_last(engine), completed=self._told, state="")
            self._bar.start()

    def advance(self, engine: Engine) -> None:
        """Called every iteration: looks at the clock, and now and then at the rest."""
        now = time.monotonic()
        self._pace.step(now)
        wait = 0.25 if self._bar is not None else self.every_seconds
        if now - self._shown < wait:
            return
        self._shown = now
        if self._bar is not None:
            self._bar.update(self._task, total=_last(engine), completed=engine.state.iteration,
                             description=_epoch(engine), state=self._describe(engine))  # fmt: skip
        else:
            self._line(f"{_epoch(engine)} · {self._describe(engine)}")

    def end_epoch(self, engine: Engine) -> None:
        """One line for the epoch that is done."""
        self._pace.end_epoch(time.monotonic())
        parts = [_epoch(engine)]
        if "train/epoch_avg_loss" in self.row:
            parts.append(f"loss {self.row['train/epoch_avg_loss']:.4g}")
        parts += [f"{name} {self.row[name]:.4g}" for name in self._shown_metrics()]
        self._shown, self._told = time.monotonic(), engine.state.iteration
        self._line(" · ".join([*parts, *self._speed(engine)]))
        for name in [name for name in self.row if name not in ("train/batch_loss", "train/learning_rate")]:
            del self.row[name]  # an epoch without an evaluation has no metrics, and not those of the one before

    def _shown_metrics(self) -> list[str]:
        asked = [name for name in self.metrics if name in self.row]
        others = [name for name in self.row if name.startswith("val/") and name.count("/") == 1 and name not in asked]
        return asked + others[: max(self.SHOWN - len(asked), 0)]

    def close(self, engine: Engine, error: BaseException | None = None) -> None:
        """Take the bar away, and say where a run ended that ends within an epoch; an error goes on its way."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if error is not None:
            raise error
        if engine.state.iteration > self._told:
            self._told = engine.state.iteration
            self._line(f"{_epoch(engine)} · {self._describe(engine)}")

    def _describe(self, engine: Engine) -> str:
        """Where within an epoch a run is, and how it does."""
        parts = [_batch(engine)]
        if "train/batch_loss" in self.row:
            parts.append(f"loss {self.row['train/batch_loss']:.4g}")
        return " · ".join([*parts, *self._speed(engine)])

    def _speed(self, engine: Engine) -> list[str]:
        """Learning rate, iterations a second, and the time left, as far as they are known."""
        parts = []
        if "train/learning_rate" in self.row:
            parts.append(f"lr {self.row['train/learning_rate']:.2e}")
        if self._pace.seconds_per_iteration is not None:
            speed = 1 / self._pace.seconds_per_iteration
            parts.append(f"{speed:.0f} it/s" if speed >= 1000 else f"{speed:.3g} it/s")
            last, length = _last(engine), engine.state.epoch_length
            if last is not None and not engine.should_terminate:
                iterations = max(last - engine.state.iteration, 0)
                parts.append(f"{duration(self._pace.left(iterations, length))} left")
        return parts

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


class _Pace:
    """How long iterations and epochs' ends take, from the end of the first iteration on."""

    def __init__(self) -> None:
        self.iterations = self.epoch_ends = 0
        self.training = self.between = 0.0  # seconds
        self._now: float | None = None

    def step(self, now: float) -> None:
        """An iteration is done."""
        if self._now is not None:
            self.training += now - self._now
            self.iterations += 1
        self._now = now

    def end_epoch(self, now: float) -> None:
        """What is done at an epoch's end is done."""
        if self._now is not None:
            self.between += now - self._now
            self.epoch_ends += 1
            self._now = now

    @property
    def seconds_per_iteration(self) -> float | None:
        return self.training / self.iterations if self.training > 0 else None

    def left(self, iterations: int, epoch_length: int | None) -> float:
        """Seconds that so many more iterations need, with the ends of their epochs."""
        ends = -(-iterations // epoch_length) if epoch_length else 0
        return iterations * (self.seconds_per_iteration or 0.0) + ends * self.between / max(self.epoch_ends, 1)


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
    state = engine.state
    if state.max_epochs is None or state.max_iters is not None:  # the run is counted in iterations
        return f"epoch {state.epoch}"
    return f"epoch {state.epoch:>{len(str(state.max_epochs))}}/{state.max_epochs}"


def _batch(engine: Engine) -> str:
    """The place within the epoch, or within a run that is counted in iterations."""
    state = engine.state
    if state.max_iters is not None:
        return f"iteration {state.iteration}/{state.max_iters}"
    if state.epoch_length is None:
        return f"iteration {state.iteration}"
    return f"batch {(state.iteration - 1) % state.epoch_length + 1}/{state.epoch_length}"


def _last(engine: Engine) -> int | None:
    """The run's last iteration, if anybody knows it."""
    state = engine.state
    if state.max_iters is not None:
        return state.max_iters
    return state.epoch_length * state.max_epochs if state.epoch_length and state.max_epochs else None

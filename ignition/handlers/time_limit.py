"""Ends a run when its time is up."""

from __future__ import annotations

import math
import time
from typing import Literal

from ignite.engine import Engine, Events

from ignition.handlers.consensus import Consensus

Per = Literal["run", "job"]


class TimeLimit:
    """Ends a run in good order after so many hours.

    The time of a ``run`` is a budget: it counts over all resumes, and when it is used up the run is ``stopped``, as by
    any other rule that says it is done. The time of a ``job`` is what a cluster lends: it counts in this process alone,
    and the run ends as ``preempted``, for the next job to go on with.

    Time counts while the engine runs, evaluations and saving included, on a clock that nobody sets. It is looked at
    after each iteration, never inside a group of accumulated batches; at an epoch's last batch what the epoch's end
    does comes first. An evaluation is not cut short. All processes end in the same iteration (`Consensus`): the first
    one whose time is up ends all.

    Args:
        hours: how long; a fraction is fine.
        per: ``run`` or ``job``, see above.
        margin_minutes: end so much earlier, for an evaluation and the last save to fit in.

    >>> limit = TimeLimit(hours=8, margin_minutes=15)
    >>> limit.reason(7.7 * 3600), limit.reason(7.8 * 3600)
    (None, 'time limit of 8 h less 15 min reached after 7 h 48 min')
    """

    def __init__(self, hours: float, *, per: Per = "run", margin_minutes: float = 0.0):
        if not (math.isfinite(hours) and hours > 0):
            raise ValueError(f"hours is {hours}; it must be a number above 0")
        if per not in ("run", "job"):
            raise ValueError(f"per is {per!r}; it can be 'run' (counts over all resumes) or 'job' (this process alone)")
        if not 0 <= margin_minutes < 60 * hours:
            raise ValueError(f"margin_minutes is {margin_minutes}; it must be at least 0 and less than the {hours:g} h")
        self.hours, self.per, self.margin_minutes = hours, per, margin_minutes
        self._limit_seconds = 3600 * hours - 60 * margin_minutes
        self._earlier = 0.0  # seconds used by the processes that this run had before
        self._used = 0.0  # by this one, up to the last stop
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How much time the run has used, over all resumes."""
        return self._earlier + self._own

    @property
    def _own(self) -> float:
        return self._used + (time.monotonic() - self._began if self._began is not None else 0.0)

    def attach(self, trainer: Engine) -> None:
        """End ``trainer``'s run when its time is up."""
        trainer.add_event_handler(Events.STARTED, self.start)
        for end in (Events.COMPLETED, Events.TERMINATE, Events.INTERRUPT, Events.EXCEPTION_RAISED):
            trainer.add_event_handler(end, self._end)
        Consensus.of(trainer).poll(self._ask)

    def start(self) -> None:
        """Begin to count, or go on; a run that starts does so by itself."""
        if self._began is None:
            self._began = time.monotonic()

    def stop(self) -> None:
        """Count no further until the next `start`."""
        self._used, self._began = self._own, None

    def reason(self, seconds: float | None = None) -> str | None:
        """Why to end now, or after ``seconds``; None as long as there is time. The core, for any loop."""
        if seconds is None:
            seconds = self.seconds if self.per == "run" else self._own
        if seconds < self._limit_seconds:
            return None
        margin = f" less {self.margin_minutes:g} min" if self.margin_minutes else ""
        job = " of this job" if self.per == "job" else ""
        minutes = int(seconds // 60)
        return f"time limit of {self.hours:g} h{margin} reached after {minutes // 60} h {minutes % 60:02d} min{job}"

    def _ask(self, engine: Engine) -> tuple[Literal["stop", "preempt"], str] | None:
        self.start()  # after an interrupt nothing else tells that it goes on
        reason = self.reason()
        if reason is None:
            return None
        return "stop" if self.per == "run" else "preempt", reason

    def _end(self, engine: Engine, error: BaseException | None = None) -> None:
        self.stop()
        if error is not None:
            raise error

    def state_dict(self) -> dict[str, int]:
        """Whole seconds used so far."""
        return {"seconds": int(self.seconds)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting from there. A run that is taken back to an earlier state does not get its time back."""
        self._earlier = max(self._earlier, state["seconds"] - self._own)

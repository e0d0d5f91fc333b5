"""Finds training that waits for its data."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings
from ignition.stability.finding import Advice, Finding


class DataWait:
    """Finds a share of time above ``share`` that goes by without a batch to work on.

    Over the last ``window`` iterations, time waited by time in all; the longest single wait does not count, since it
    is the loader's start. Waits come in bursts, one batch of each loader process at a time, so no median is taken.
    It is over when the share is half of that.

    Args:
        share: of the time, above which it is found.
        window: iterations.
        settings: those of the run, for the advice.

    >>> waits = DataWait(settings=RunSettings(workers=2))
    >>> findings = [waits.update(i, waited=0.1, computed=0.1) for i in range(64)]
    >>> findings[-1].message, findings[-1].advice[0].override
    ('50 % of the time goes by waiting for data (0.1 s of 0.2 s an iteration)', 'data.workers=4')
    """

    def __init__(self, share: float = 0.2, *, window: int = 64, settings: RunSettings = RunSettings()):
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must be a number between 0 and 1")
        if window < 2:
            raise ValueError(f"window is {window}; it counts iterations and must be at least 2")
        self.share, self.window, self.settings = share, window, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after an evaluation that has emptied the loader."""
        self.active = False
        self._last = -1
        self._times: deque[tuple[float, float]] = deque(maxlen=self.window)

    def update(self, iteration: int, waited: float, computed: float) -> Finding | None:
        """Look at an iteration.

        Args:
            waited: seconds for which it waited for its batch.
            computed: seconds that it took from then on.
        """
        if iteration <= self._last or not math.isfinite(waited + computed):
            return None
        self._last = iteration
        self._times.append((waited, computed))
        if len(self._times) < self.window:
            return None
        waits = [time for time, _ in self._times]
        wait = (sum(waits) - max(waits)) / (self.window - 1)
        work = sum(time for _, time in self._times) / self.window
        share = wait / (wait + work) if wait > 0 else 0.0
        if share < 0.5 * self.share:
            self.active = False
        if self.active or share <= self.share:
            return None
        self.active = True
        return Finding(
            "data_wait",
            "info",
            f"{100 * share:.0f} % of the time goes by waiting for data "
            f"({wait:.3g} s of {wait + work:.3g} s an iteration)",
            iteration,
            iteration,
            evidence={"share": share, "waited": wait, "computed": work},
            advice=(self._more_workers(wait, work),),
        )

    def _more_workers(self, wait: float, work: float) -> Advice:
        """A batch costs the loaders their number times an iteration; enough of them, and it is the computing alone."""
        why = "loading then keeps up with computing, if the machine has the cores; else make the data cheaper to read"
        workers = self.settings.workers
        if workers is None or work <= 0:
            return Advice("", f"more loader processes (data.workers): {why}")
        load = workers * (wait + work) if workers else wait
        return Advice(f"data.workers={max(math.ceil(load / work - 1e-9), workers + 1)}", why)

    def state_dict(self) -> dict[str, Any]:
        """The latest times."""
        return {"active": self.active, "last": self._last, "times": [list(times) for times in self._times]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last = state["active"], state["last"]
        self._times = deque(((times[0], times[1]) for times in state["times"]), maxlen=self.window)

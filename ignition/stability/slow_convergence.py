"""Finds a training loss that falls steadily, but too slowly to get anywhere."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, given, written
from ignition.stability.finding import Advice, Finding
from ignition.stability.trend import theil_sen


class SlowConvergence:
    """Finds a training loss that has lost less than ``gained`` of its first value, and falls on in a straight line.

    Losses that learn at a good rate fall fast and then ever slower. Looked at from the ``least``-th evaluation on: the
    slope of the last five (Theil, 1950; Sen, 1968) lies below 0 by two of its standard errors, and goes down at half
    the mean pace so far or faster. So there is far to go, and nothing that bends. Nothing is found while the learning
    rate is below half of its highest, on the way up or down. It has ended once enough is gained or the pace is halved.

    The first loss has to be that of the untrained network: of the evaluation before the first step
    (``trainer.evaluate_first``), or of the first batch. Where it is the mean of a whole epoch, much of the way may be
    behind it, and what is left is slow in two of five good runs.

    It found small trainings with a 300th or a 100th of the usual rate in 12 of 12 cases, with a 30th in 5 of 6, and
    speaks of 1 % of good real runs, some of which do begin slowly (benchmarks/evaluation_detectors.py).

    Args:
        least: evaluations, the first loss included.
        gained: share of the first loss.
        settings: those of the run, for the advice.
        weight_decay: ``optimizer.weight_decay``, for the advice.

    >>> slow = SlowConvergence(settings=RunSettings(learning_rate=1e-4))
    >>> findings = [slow.update(100 * i, 0.364 - 0.004 * i) for i in range(11)]
    >>> findings[9].message
    'training loss 0.328 is 9.89 % below its first of 0.364, and falls on as slowly: half is gone at iteration 4550'
    >>> findings[9].advice[0].override
    'optimizer.lr=2e-4'
    """

    WINDOW = 5
    PACE = 0.5  # of the mean pace so far
    ERRORS = 2.0
    QUIET = 0.5  # share of the highest rate below which nothing is found

    def __init__(
        self,
        least: int = 10,
        *,
        gained: float = 0.5,
        settings: RunSettings = RunSettings(),
        weight_decay: float | None = None,
    ):
        if least < self.WINDOW:
            raise ValueError(f"least is {least}; it counts evaluations, and a slope is taken of {self.WINDOW}")
        if not 0 < gained <= 1:
            raise ValueError(f"gained is {gained}; it must be a number between 0 and 1")
        self.least, self.gained = least, gained
        self.settings, self.weight_decay = settings, weight_decay
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes the first loss meaningless."""
        self.active = False
        self._last = -1
        self._seen = 0
        self._first: tuple[int, float] | None = None
        self._best = math.inf
        self._values: deque[tuple[int, float]] = deque(maxlen=self.WINDOW)

    def update(self, iteration: int, training: float, *, rate_share: float = 1.0) -> Finding | None:
        """Look at an evaluation, or an epoch.

        Args:
            training: the training loss.
            rate_share: the present learning rate as a share of the highest of its schedule.
        """
        if iteration <= self._last or not math.isfinite(training):
            return None
        self._last, self._seen = iteration, self._seen + 1
        if self._first is None:
            self._first = (iteration, training)
        self._best = min(self._best, training)
        self._values.append((iteration, training))
        began, first = self._first
        gain = first - self._best
        if gain >= self.gained * abs(first):
            self.active = False
            return None
        if self._seen < self.least or gain <= 0:
            return None
        slope, error = theil_sen(*zip(*self._values))
        pace = -slope * (iteration - began) / gain
        if pace < 0.5 * self.PACE:
            self.active = False
        if self.active or slope >= -self.ERRORS * error or pace < self.PACE or rate_share < self.QUIET:
            return None
        self.active = True
        half = iteration + math.ceil((training - 0.5 * abs(first)) / -slope - 1e-9)
        then = f": half is gone at iteration {half}" if first > 0 else ""
        return Finding(
            "slow_convergence",
            "info",
            f"training loss {training:.4g} is {100 * gain / abs(first):.3g} % below its first of {first:.4g}, and "
            f"falls on as slowly{then}",
            began,
            iteration,
            evidence={"training": training, "first": first, "gained": gain / abs(first), "slope": slope, "pace": pace},
            confidence=0.7,
            advice=given(
                change_rate(self.settings, 2.0, "larger steps; --find-lr shows how large they may be"),
                self._less_decay(),
                Advice("", "see that batches are diverse and that the inputs have the scale which the model expects"),
            ),
        )

    def _less_decay(self) -> Advice | None:
        if not self.weight_decay:
            return None
        return Advice(f"optimizer.weight_decay={written(0.1 * self.weight_decay)}", "it may hold the weights back")

    def state_dict(self) -> dict[str, Any]:
        """The latest losses, the first and the lowest."""
        return {
            "active": self.active,
            "last": self._last,
            "seen": self._seen,
            "first": None if self._first is None else list(self._first),
            "best": self._best if math.isfinite(self._best) else None,
            "values": [list(entry) for entry in self._values],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._seen = state["active"], state["last"], state["seen"]
        self._first = None if state["first"] is None else (state["first"][0], state["first"][1])
        self._best = math.inf if state["best"] is None else state["best"]
        self._values = deque(((entry[0], entry[1]) for entry in state["values"]), maxlen=self.WINDOW)

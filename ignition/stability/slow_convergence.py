"""Finds a training loss that falls, but hardly."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, given, written
from ignition.stability.finding import Advice, Finding
from ignition.stability.trend import theil_sen


class SlowConvergence:
    """Finds a training loss that creeps downhill with most of the way still before it.

    Over the last ``window`` evaluations it falls for certain (slope below 0 by two of its standard errors; Theil, 1950;
    Sen, 1968), and by less than ``fall`` of its size. Less than ``gained`` of the first loss has been taken away by
    then: every good run creeps in the end. Nothing is found while the learning rate is below half of its highest, on
    the way up or down. It has ended when the fall is twice as steep, or enough is gained.

    The first loss should be that of the untrained network (``trainer.evaluate_first``): where it is that of a whole
    epoch, a run that is nearly done after it looks the same.

    Args:
        fall: share of the loss, in ``window`` evaluations.
        window: evaluations.
        gained: share of the first loss.
        settings: those of the run, for the advice.
        weight_decay: ``optimizer.weight_decay``, for the advice.

    >>> slow = SlowConvergence(settings=RunSettings(learning_rate=1e-4))
    >>> findings = [slow.update(i, 0.364 * 0.999**i) for i in range(6)]
    >>> findings[4].message
    'training loss 0.3625 falls by 0.4 % in 5 evaluations, and has lost 0.399 % of its first 0.364'
    >>> findings[4].advice[0].override
    'optimizer.lr=2e-4'
    """

    QUIET = 0.5  # share of the highest rate below which nothing is found
    ERRORS = 2.0

    def __init__(
        self,
        fall: float = 0.01,
        *,
        window: int = 5,
        gained: float = 0.5,
        settings: RunSettings = RunSettings(),
        weight_decay: float | None = None,
    ):
        if not 0 < fall < 1:
            raise ValueError(f"fall is {fall}; it must be a number between 0 and 1")
        if window < 3:
            raise ValueError(f"window is {window}; it counts evaluations, and a slope takes at least 3")
        if not 0 < gained <= 1:
            raise ValueError(f"gained is {gained}; it must be a number between 0 and 1")
        self.fall, self.window, self.gained = fall, window, gained
        self.settings, self.weight_decay = settings, weight_decay
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes the first loss meaningless."""
        self.active = False
        self._last = -1
        self._first: float | None = None
        self._best = math.inf
        self._values: deque[tuple[int, float]] = deque(maxlen=self.window)

    def update(self, iteration: int, training: float, *, rate_share: float = 1.0) -> Finding | None:
        """Look at an evaluation, or an epoch.

        Args:
            training: the training loss.
            rate_share: the present learning rate as a share of the highest of its schedule.
        """
        if iteration <= self._last or not math.isfinite(training):
            return None
        self._last = iteration
        if self._first is None:
            self._first = training
        self._best = min(self._best, training)
        self._values.append((iteration, training))
        if len(self._values) < self.window:
            return None
        places, values = zip(*self._values)
        slope, error = theil_sen(places, values)
        size = abs(sorted(values)[len(values) // 2])
        drop = -slope * (places[-1] - places[0])
        gain = self._first - self._best
        enough = gain >= self.gained * abs(self._first)
        if enough or drop >= 2 * self.fall * size:
            self.active = False
        creeps = slope < -self.ERRORS * error and drop < self.fall * size
        if self.active or enough or not creeps or rate_share < self.QUIET:
            return None
        self.active = True
        share, lost = drop / size, gain / abs(self._first)
        return Finding(
            "slow_convergence",
            "info",
            f"training loss {training:.4g} falls by {100 * share:.3g} % in {self.window} evaluations, and has lost "
            f"{100 * lost:.3g} % of its first {self._first:.4g}",
            places[0],
            iteration,
            evidence={"training": training, "first": self._first, "fall": share, "gained": lost, "slope": slope},
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
            "first": self._first,
            "best": self._best if math.isfinite(self._best) else None,
            "values": [list(entry) for entry in self._values],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._first = state["active"], state["last"], state["first"]
        self._best = math.inf if state["best"] is None else state["best"]
        self._values = deque(((entry[0], entry[1]) for entry in state["values"]), maxlen=self.window)

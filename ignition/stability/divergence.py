"""Confirms that a run has diverged: what it had gained is being lost, or nothing in it is finite any more."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up
from ignition.stability.finding import Finding
from ignition.stability.slow_divergence import SlowDivergence


class Divergence:
    """Confirms what `SlowDivergence` suspects: a loss that has risen for long, and so far that progress is undone.

    A rise is noticed early, while it may still be a stretch of hard batches; to act upon it costs what was learned
    since. So this waits until the median of the last 16 losses is above ``level + bar``, with ``level`` from before the
    rise. The bar is half of what the run had gained (first losses less ``level``), but not more than the level itself
    (a loss that has doubled has diverged), and at least a quarter of the level and one and a half scales. Besides, five
    losses in a row that are not finite are a divergence.

    It has ended when the rise has, or when a loss is finite again.

    Args:
        settings: those of the run, for the advice.

    >>> rising, divergence = SlowDivergence(), Divergence()
    >>> losses = [2.0 + 0.1 * (i % 7) for i in range(100)] + [2.0 + 0.2 * i for i in range(40)]
    >>> found = []
    >>> for i, loss in enumerate(losses):
    ...     _ = rising.update(i, loss)
    ...     found.append(divergence.update(i, loss, rising))
    >>> [finding.message for finding in found if finding]
    ['the loss has risen from 2.3 to 2.9 since iteration 103, and stays there']
    """

    WINDOW = 16
    NOT_FINITE = 5
    GAIN = 0.5  # share of what was gained
    MOST, LEAST, SCALES = 1.0, 0.25, 1.5  # of the bar: in levels, in levels, in scales

    def __init__(self, *, settings: RunSettings = RunSettings()):
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change makes another loss usual, and what was gained before says nothing."""
        self.active = False
        self._last = -1
        self._began: list[float] = []  # the first losses
        self._latest: deque[float] = deque(maxlen=self.WINDOW)
        self._broken: list[int] = []  # iterations in a row without a finite loss

    def take_back(self, iteration: int) -> None:
        """The run has weights of before ``iteration`` again: losses since then are forgotten."""
        self.active = False
        self._latest.clear()
        self._broken.clear()

    def update(self, iteration: int, loss: float, rising: SlowDivergence) -> Finding | None:
        """Look at the loss of an iteration that ``rising`` has seen already."""
        if iteration <= self._last:
            return None
        self._last = iteration
        if not math.isfinite(loss):
            self._broken.append(iteration)
            if self.active or len(self._broken) < self.NOT_FINITE:
                return None
            return self._found(
                iteration, self._broken[0], f"the loss has not been finite for {len(self._broken)} steps"
            )
        if len(self._began) < self.WINDOW:
            self._began.append(loss)
        self._broken = []
        self._latest.append(loss)
        if not rising.active:
            self.active = False
            return None
        if self.active or len(self._latest) < self.WINDOW:
            return None
        now, level = median(self._latest), rising.level
        gained = median(self._began) - level
        size = abs(level)
        bar = max(min(self.GAIN * gained, self.MOST * size), self.LEAST * size, self.SCALES * rising.scale)
        if not now > level + bar:
            return None
        words = f"the loss has risen from {level:.4g} to {now:.4g} since iteration {rising.onset}, and stays there"
        return self._found(
            iteration, rising.onset, words, {"level": level, "median": now, "gained": gained, "bar": bar}
        )

    def _found(self, iteration: int, first: int, words: str, evidence: Mapping[str, float] | None = None) -> Finding:
        self.active = True
        return Finding(
            "divergence",
            "critical",
            words,
            first,
            iteration,
            evidence=dict(evidence or {}),
            confidence=0.99,
            advice=given(
                change_rate(self.settings, 0.2, "smaller steps stay where the loss still falls"),
                clip(self.settings),
                warm_up(self.settings),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The first losses and the latest."""
        return {
            "active": self.active,
            "last": self._last,
            "began": list(self._began),
            "latest": list(self._latest),
            "broken": list(self._broken),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last = state["active"], state["last"]
        self._began, self._broken = list(state["began"]), list(state["broken"])
        self._latest = deque(state["latest"], maxlen=self.WINDOW)

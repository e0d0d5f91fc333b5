"""Fixed limits for losses, as people set them for one task: a preset to choose, not the default."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import pstdev
from typing import Any

from ignition.stability.finding import Finding

PRESET = "absolute"  # its name, where the relative rules are ``relative``


class AbsoluteLimits:
    """Finds the three warning signs of a monitor that was written for losses between 0.3 and 0.5.

    ``unstable_validation``: the standard deviation of the last ``epochs`` validation losses is above ``deviation``.
    ``overfitting``: the validation loss is above the training loss by more than ``gap``. ``slow_convergence``: the
    training loss has improved by less than ``improvement`` in ``epochs`` epochs.

    They are of use for the very task whose losses they were set for: a loss has no natural unit, the gap is there in
    every healthy run, and every run improves slowly in the end. Each has ended as soon as it does not hold.

    One or another speaks of 1258 of 1260 real runs that ended within 2 % of their best, and the gap finds 11 of the 66
    that overfit (benchmarks/evaluation_detectors.py).

    Args:
        deviation, gap, improvement: in units of the loss.
        epochs: what the first and the third look back.

    >>> limits = AbsoluteLimits()
    >>> [finding.name for finding in limits.update(1, 0.287, 0.43)]
    ['overfitting']
    """

    def __init__(self, *, deviation: float = 0.05, gap: float = 0.10, improvement: float = 0.05, epochs: int = 5):
        for name, value in (("deviation", deviation), ("gap", gap), ("improvement", improvement)):
            if not value > 0:
                raise ValueError(f"{name} is {value}; it is in units of the loss and must be a number above 0")
        if epochs < 2:
            raise ValueError(f"epochs is {epochs}; it must be at least 2")
        self.deviation, self.gap, self.improvement, self.epochs = deviation, gap, improvement, epochs
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a known change."""
        self._last = -1
        self._epochs: deque[tuple[int, float, float]] = deque(maxlen=self.epochs + 1)
        self._on: list[str] = []

    @property
    def active(self) -> bool:
        """Whether some limit is passed."""
        return bool(self._on)

    @property
    def passed(self) -> tuple[str, ...]:
        """The limits that are, by the names of their findings."""
        return tuple(self._on)

    def update(self, iteration: int, training: float, validation: float) -> list[Finding]:
        """Look at the losses of an epoch; one with a loss that is not finite does not count."""
        if iteration <= self._last or not math.isfinite(training + validation):
            return []
        self._last = iteration
        self._epochs.append((iteration, training, validation))
        recent = list(self._epochs)[-self.epochs :]
        passed: dict[str, tuple[float, float, str]] = {}
        if len(recent) == self.epochs:
            deviation = pstdev([value for _, _, value in recent])
            if deviation > self.deviation:
                passed["unstable_validation"] = (deviation, self.deviation, "the validation loss deviates by")
        if validation - training > self.gap:
            gap = validation - training
            passed["overfitting"] = (gap, self.gap, "the validation loss exceeds the training loss by")
        if len(self._epochs) > self.epochs:
            gain = self._epochs[0][1] - training
            if gain < self.improvement:
                passed["slow_convergence"] = (gain, self.improvement, "the training loss has improved by")
        new = [name for name in passed if name not in self._on]
        self._on = list(passed)
        first = self._epochs[0][0]
        return [
            Finding(
                name,
                "warning",
                f"{what} {value:.3g} (absolute limit {limit:g})",
                iteration if name == "overfitting" else first,
                iteration,
                evidence={"value": value, "limit": limit, "preset": PRESET},
                confidence=0.05,
            )
            for name, (value, limit, what) in ((name, passed[name]) for name in new)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The latest epochs, and which limits are passed."""
        return {"last": self._last, "epochs": [list(epoch) for epoch in self._epochs], "on": list(self._on)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._on = state["last"], list(state["on"])
        self._epochs = deque(((e[0], e[1], e[2]) for e in state["epochs"]), maxlen=self.epochs + 1)

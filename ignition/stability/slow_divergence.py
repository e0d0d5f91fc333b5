"""Finds a loss that rises and keeps rising, each step too little to be a spike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up
from ignition.stability.finding import Finding
from ignition.stability.quantile_scale import QuantileScale


class SlowDivergence:
    """Finds a loss that has left its level for good, by a cumulative sum (CUSUM; Page, 1954).

    ``S = max(0, S + min(score, CAP) - k)``, and it is found when ``S > h``. The score is in scales above the median
    (`QuantileScale`) of ``window`` values that end 24 values ago: a window up to the present climbs along.

    Measured (`benchmarks/detectors.py`, 302 healthy runs of optimizers that nothing was tuned on): 0.02 false alarms in
    1000 values, 2 % of healthy runs flagged; finds a loss that rises by ``sigma (exp(t / 30) - 1)`` within 60 values in
    98 % of cases, after 41 in the middle, and a drift of ``sigma t / 20`` within 150 in 90 %. What drifts five times as
    slowly is missed (4 %), and so are noise that grows and oscillations.

    A known event that lifts the loss (a warm restart, a raised rate or weight of a term) needs a `reset`.

    Args:
        k: scales above the median that are put down to chance.
        h: the sum above which it is none.
        window: values that the median and the scale are of.
        subject: what the values are of where there are several, as a term of the loss.
        settings: those of the run, for the advice.

    Attributes:
        active: whether it rises now.
        onset, level, scale: since which iteration the sum has been above nought, and what was usual before.

    >>> divergence = SlowDivergence()
    >>> findings = [divergence.update(i, 2.0 + 0.1 * (i % 7) + 0.02 * max(0, i - 100)) for i in range(200)]
    >>> [finding.message for finding in findings if finding]
    ['loss has been rising since iteration 109, from 2.3 to 3']
    """

    GAP = 24
    CAP = 3.0  # what one value adds at most: a single outlier is no trend

    def __init__(
        self,
        k: float = 0.75,
        h: float = 12.0,
        *,
        window: int = 48,
        subject: str = "",
        settings: RunSettings = RunSettings(),
    ):
        if not 0 < k < self.CAP:
            raise ValueError(f"k is {k}; it must be between 0 and {self.CAP}, which is the most that one value counts")
        if not h > 0:
            raise ValueError(f"h is {h}; it must be a number above 0")
        self.k, self.h, self.subject, self.settings = k, h, subject, settings
        self._scale = QuantileScale(window, gap=self.GAP)
        self._begin()

    def _begin(self) -> None:
        self.active = False
        self.onset, self.level, self.scale = 0, 0.0, 0.0
        self._sum = 0.0

    def reset(self) -> None:
        """Begin anew: a known change, such as a restart of the schedule, makes another loss usual."""
        self._scale.reset()
        self._begin()

    def take_back(self, iteration: int) -> None:
        """The run has weights of before ``iteration`` again: losses since then are forgotten."""
        self._begin()
        self._scale.forget(iteration)

    def update(self, iteration: int, loss: float) -> Finding | None:
        """Look at the loss of an iteration."""
        reading = self._scale.read(iteration, loss)
        if reading is None:
            return None
        median, scale = reading
        if self._sum == 0.0:
            self.onset, self.level, self.scale = iteration, median, scale
        # Twice h is the most, so that it can be over within as many values as it took to begin.
        self._sum = min(max(0.0, self._sum + min((loss - median) / scale, self.CAP) - self.k), 2 * self.h)
        if self._sum == 0.0:
            self.active = False
        if self.active or self._sum <= self.h:
            return None
        self.active = True
        what = self.subject or "loss"
        return Finding(
            "slow_divergence",
            "critical",
            f"{what} has been rising since iteration {self.onset}, from {self.level:.4g} to {loss:.4g}",
            self.onset,
            iteration,
            subject=self.subject,
            evidence={"loss": loss, "level": self.level, "median": median, "scale": scale, "sum": self._sum},
            confidence=0.98,  # with one slow divergence in 1000 values
            advice=given(
                change_rate(self.settings, 0.5, "smaller steps stay where the loss still falls"),
                clip(self.settings),
                warm_up(self.settings),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest values, the sum, and since when it is above nought."""
        return {
            "active": self.active,
            "sum": self._sum,
            "onset": self.onset,
            "level": self.level,
            "usual": self.scale,
            "scale": self._scale.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._sum = state["active"], state["sum"]
        self.onset, self.level, self.scale = state["onset"], state["level"], state["usual"]
        self._scale.load_state_dict(state["scale"])

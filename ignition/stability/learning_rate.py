"""Finds a learning rate that is too high or too low, from the first steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up
from ignition.stability.finding import Finding
from ignition.stability.quantile_scale import QuantileScale

SCALE = 1.4826  # a normal distribution's standard deviation over its median distance from the middle


class LearningRateTooHigh:
    """Finds a first phase in which the loss goes up, or steps are larger than weights stand.

    Found when, within ``steps`` iterations of the first, 10 losses in a row lie more than 5 % above the first one (one
    that is not finite does) and their median by more than two scales of what one loss differs from the next, or 40 in a
    row do; or when the median of 5 update ratios is above ``most``. It is over when the loss is down to its first
    value, and never found again.

    The scatter has to be looked at: where batches are small, the first loss may be a low one by chance. Of 1000 series
    of lognormal noise of spread 0.3 on a slow descent it flags 1.4 %; without that look, 19 %.

    Measured: flags at most 1 of 383 real runs that ended well. In 104 trainings of two small networks (the ones that
    its settings were chosen on) it finds 19 of 22 whose rate was too high, and none of the 38 whose rate was fine. An
    update ratio of 0.01, often called the limit, is passed by half of the fine ones.

    Args:
        steps: iterations that are looked at.
        most: update ratio, ``|change| / |weights|`` of the parameter in the middle, that is still fine.
        settings: those of the run, for the advice.

    >>> too_high = LearningRateTooHigh(settings=RunSettings(learning_rate=0.1))
    >>> findings = [too_high.update(i, 2.3 + 0.2 * i) for i in range(20)]
    >>> next(finding.advice[0].override for finding in findings if finding)
    'optimizer.lr=0.02'
    """

    IN_ROW = 10
    SURELY = 40  # in a row, however they scatter
    MARGIN = 0.05
    MEASURED = 5

    def __init__(self, *, steps: int = 100, most: float = 0.05, settings: RunSettings = RunSettings()):
        if steps < self.IN_ROW:
            raise ValueError(f"steps is {steps}; it must be at least {self.IN_ROW}, which have to be high in a row")
        if not most > 0:
            raise ValueError(f"most is {most}; it must be a number above 0")
        self.steps, self.most, self.settings = steps, most, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next iteration counts as the first one."""
        self.active = self._found = False
        self._first: tuple[int, float] | None = None
        self._last = -1
        self._in_row = 0
        self._high: list[float] = []  # the finite ones of these
        self._losses: list[float] = []  # all finite ones
        self._ratios: list[float] = []

    def update(self, iteration: int, loss: float, ratio: float | None = None) -> Finding | None:
        """Look at the loss of an iteration and, where it was measured, the update ratio of its step."""
        if iteration <= self._last:
            return None
        self._last = iteration
        if self._first is None:
            if math.isfinite(loss):
                self._first = (iteration, loss)
            return None
        began, first = self._first
        if loss <= first:
            self.active = False
        if self._found or iteration - began > self.steps:
            return None
        self._losses += [loss] if math.isfinite(loss) else []
        high = not loss <= first + self.MARGIN * abs(first)
        self._in_row = self._in_row + 1 if high else 0
        if not high:
            self._high = []
        elif math.isfinite(loss):
            self._high = [*self._high[1 - self.IN_ROW :], loss]
        if ratio is not None and math.isfinite(ratio):
            self._ratios = [*self._ratios[1 - self.MEASURED :], ratio]
        moved = median(self._ratios) if len(self._ratios) == self.MEASURED else 0.0
        above = self._is_above(first)
        if not above and moved <= self.most:
            return None
        self.active = self._found = True
        if above:
            why = f"the loss has been above its first value of {first:.4g} for {self._in_row} steps, and is {loss:.4g}"
        else:
            why = f"a step changes the weights by {moved:.2g} of their norm"
        return Finding(
            "learning_rate_too_high",
            "warning",
            f"the learning rate is too high to begin with: {why}",
            began,
            iteration,
            evidence={
                "first": first,
                "loss": loss if math.isfinite(loss) else str(loss),
                "in_row": self._in_row,
                "update_ratio": moved,
            },
            confidence=0.96,
            advice=given(
                change_rate(self.settings, 0.2, "the first steps then stay where the loss falls"),
                warm_up(self.settings),
                clip(self.settings),
            ),
        )

    def _is_above(self, first: float) -> bool:
        """Whether the latest losses are above the first one, and not by chance."""
        if self._in_row < self.IN_ROW:
            return False
        if 2 * len(self._high) < self.IN_ROW or self._in_row >= self.SURELY:  # most are not even finite, or it stays
            return True
        steps = median(abs(after - before) for before, after in pairwise(self._losses))
        return median(self._high) - first > 2 * SCALE * steps

    def state_dict(self) -> dict[str, Any]:
        """The first loss, and how the present stands to it."""
        return {
            "active": self.active,
            "found": self._found,
            "first": None if self._first is None else list(self._first),
            "last": self._last,
            "in_row": self._in_row,
            "high": list(self._high),
            "losses": list(self._losses),
            "ratios": list(self._ratios),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._found = state["active"], state["found"]
        self._last, self._in_row, self._high = state["last"], state["in_row"], list(state["high"])
        self._losses = list(state["losses"])
        self._first = None if state["first"] is None else (state["first"][0], state["first"][1])
        self._ratios = list(state["ratios"])


class LearningRateTooLow:
    """Finds a first phase in which next to nothing is learned, since steps are tiny.

    Judged once, after ``values`` losses at a rate of at least half its highest: the median of the last 32 is less than
    one scale (`QuantileScale`) below that of the first 32, and the update ratios have a median below ``least``.
    Fine-tuning with tiny steps on purpose looks the same, which is why this is no more than worth knowing. It is over
    when the loss has fallen by a scale.

    Measured: in 104 trainings of two small networks (the ones that its settings were chosen on) it finds 42 % of the
    33 whose rate was too low, and none of the 38 whose rate was fine; once it took a network for slow that too high a
    rate had killed.

    Args:
        values: losses that are looked at.
        least: update ratio, ``|change| / |weights|`` of the parameter in the middle, that is still fine.
        settings: those of the run, for the advice.

    >>> too_low = LearningRateTooLow(settings=RunSettings(learning_rate=1e-6))
    >>> findings = [too_low.update(i, 2.3 + 0.1 * (i % 5), ratio=1e-6) for i in range(201)]
    >>> next(finding.advice[0].override for finding in findings if finding)
    'optimizer.lr=1e-5'
    """

    WINDOW = 32

    def __init__(self, *, values: int = 200, least: float = 1e-4, settings: RunSettings = RunSettings()):
        if values < 2 * self.WINDOW:
            raise ValueError(f"values is {values}; it must be at least {2 * self.WINDOW}, a first and a last part")
        if not least > 0:
            raise ValueError(f"least is {least}; it must be a number above 0")
        self.values, self.least, self.settings = values, least, settings
        self._scale = QuantileScale(self.WINDOW)
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next loss counts as the first one."""
        self.active = False
        self._scale.reset()
        self._first = -1
        self._last = -1
        self._seen = 0
        self._began: float | None = None
        self._ratios: list[float] = []

    def update(
        self, iteration: int, loss: float, ratio: float | None = None, *, rate_share: float = 1.0
    ) -> Finding | None:
        """Look at the loss of an iteration and, where it was measured, the update ratio of its step.

        Args:
            rate_share: the present rate as a share of the highest of its schedule; a warm-up is waited for.
        """
        judged = self._seen > self.values
        if iteration <= self._last or not math.isfinite(loss) or rate_share < 0.5 or (judged and not self.active):
            return None
        if self._seen == 0:
            self._first = iteration
        self._last = iteration
        reading = self._scale.read(iteration, loss)
        self._seen += 1
        if not judged and ratio is not None and math.isfinite(ratio):
            self._ratios.append(ratio)
        if reading is None:
            return None
        if self._seen == self.WINDOW + 1:
            self._began = reading[0]
        if self._seen <= self.values or self._began is None or not self._ratios:
            return None
        gain, moved = (self._began - reading[0]) / reading[1], median(self._ratios)
        self.active = gain < 1.0 and moved < self.least
        if judged or not self.active:
            return None
        return Finding(
            "learning_rate_too_low",
            "info",
            f"the loss has not left {reading[0]:.4g} in {self._seen - 1} steps, each of which changes the weights by "
            f"{moved:.2g} of their norm",
            self._first,
            iteration,
            evidence={"began": self._began, "median": reading[0], "scale": reading[1], "update_ratio": moved},
            confidence=0.93,
            advice=(change_rate(self.settings, min(10.0, 1e-3 / moved) if moved else 10.0, "steps that can be seen"),),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest losses, and what they are compared with."""
        return {
            "active": self.active,
            "first": self._first,
            "last": self._last,
            "seen": self._seen,
            "began": self._began,
            "ratios": list(self._ratios),
            "scale": self._scale.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._first, self._last = state["active"], state["first"], state["last"]
        self._seen, self._began, self._ratios = state["seen"], state["began"], list(state["ratios"])
        self._scale.load_state_dict(state["scale"])

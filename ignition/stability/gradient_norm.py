"""Finds gradients that explode, and gradients that vanish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up
from ignition.stability.finding import Advice, Finding
from ignition.stability.quantile_scale import QuantileScale, RecentOutliers


class GradientExplosion:
    """Finds a gradient norm ``times`` times the median of those before.

    Norms spread over orders of magnitude and their scores say little: more than 6 deviations above the mean is seen in
    half of all healthy runs. Where such norms are usual, it takes one twice as large as the fourth largest of the last
    1000, at most 50 times the median (`RecentOutliers`).

    Measured (`benchmarks/detectors.py`, 587 healthy segments of real runs): 0.14 false alarms in 1000 values, 9.5 % of
    segments flagged, a third of them with a finding in the loss as well; finds 56 % of norms that are 10 times as large
    as they would have been, 98 % of 20 times and 100 % of 100 times.

    Args:
        times: how many times the median.
        window: norms that the median is of.
        settings: those of the run, for the advice.

    >>> explosion = GradientExplosion()
    >>> findings = [explosion.update(i, norm) for i, norm in enumerate([1.0, 1.2] * 32 + [30.0])]
    >>> findings[-1].message
    'gradient norm 30 at iteration 64, 27.3 times its median of 1.1'
    """

    MOST = 50.0  # times the median, and news however usual it is

    def __init__(self, times: float = 10.0, *, window: int = 64, settings: RunSettings = RunSettings()):
        if not times > 1:
            raise ValueError(f"times is {times}; it must be a number above 1")
        self.times, self.settings = times, settings
        self.active = False
        self._scale = QuantileScale(window)
        self._outliers = RecentOutliers(times, most=max(times, self.MOST))

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes other norms usual."""
        self.active = False
        self._scale.reset()
        self._outliers.reset()

    def take_back(self, iteration: int) -> None:
        """The run has weights of before ``iteration`` again: norms since then are forgotten."""
        self.active = False
        self._scale.forget(iteration)

    def update(self, iteration: int, norm: float) -> Finding | None:
        """Look at the norm of an iteration's gradients, before they are clipped."""
        reading = self._scale.read(iteration, norm)
        if reading is None or not reading[0] > 0:
            return None
        median = reading[0]
        ratio = norm / median
        news = self._outliers.is_news(ratio)
        if ratio <= 0.5 * self.times:
            self.active = False
        if self.active or not news:
            return None
        self.active = True
        return Finding(
            "gradient_explosion",
            "warning",
            f"gradient norm {norm:.4g} at iteration {iteration}, {ratio:.3g} times its median of {median:.4g}",
            iteration,
            iteration,
            evidence={"norm": norm, "median": median, "ratio": ratio},
            confidence=0.88,  # with one norm 30 times as large in 1000 values
            advice=given(
                clip(self.settings, typical=median),
                change_rate(self.settings, 0.5, "large gradients come of weights that have been moved too far"),
                warm_up(self.settings),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest norms, the large ones among them, and whether an explosion is on."""
        return {"active": self.active, "scale": self._scale.state_dict(), "outliers": self._outliers.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active = state["active"]
        self._scale.load_state_dict(state["scale"])
        self._outliers.load_state_dict(state["outliers"])


class GradientVanishing:
    """Finds gradients that have shrunk to next to nothing while there is still something to learn.

    The median of ``window`` norms is less than ``share`` of the highest such median, or all of them are 0. A loss that
    has itself fallen below a tenth of where it began explains small gradients, and nothing is found then.

    Measured: silent in all of 587 healthy segments of real runs; norms that fade to a hundred-thousandth within 115
    steps are found in all cases. A hundredth would be too soon: in 265 runs that were logged from the first step on
    and ended well, medians of 32 norms fell to 0.0034 of the highest.

    Args:
        share: of the highest median of norms, less than which is vanished.
        window: norms that a median is of.
        settings: those of the run, for the advice.

    >>> vanishing = GradientVanishing()
    >>> findings = [vanishing.update(i, 1.0 if i < 100 else 1e-5) for i in range(200)]
    >>> [finding.message for finding in findings if finding]
    ['gradient norms are down to 1e-05, a share of 1e-05 of what they were']
    """

    def __init__(self, share: float = 1e-3, *, window: int = 64, settings: RunSettings = RunSettings()):
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must be a number between 0 and 1")
        self.share, self.window, self.settings = share, window, settings
        self._norms, self._losses = QuantileScale(window), QuantileScale(window)
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes other norms usual."""
        self.active = False
        self._norms.reset()
        self._losses.reset()
        self._highest = 0.0
        self._first_loss: float | None = None
        self._zeros = 0
        self._last_zero = -1

    def update(self, iteration: int, norm: float, loss: float | None = None) -> Finding | None:
        """Look at the norm of an iteration's gradients and, where it is known, the loss."""
        fitted = loss is not None and self._is_fitted(iteration, loss)
        if not math.isfinite(norm):
            return None
        reading = self._norms.read(iteration, norm)
        if norm > 0:
            self._zeros = 0
        elif iteration > self._last_zero:
            self._zeros, self._last_zero = self._zeros + 1, iteration
        median = 0.0 if self._zeros >= self.window else None if reading is None else reading[0]
        if median is None:
            return None
        self._highest = max(self._highest, median)
        ratio = median / self._highest if self._highest else 0.0
        if ratio > 10 * self.share:
            self.active = False
        if self.active or fitted or ratio >= self.share:
            return None
        self.active = True
        told = f"down to {median:.4g}, a share of {ratio:.2g} of what they were" if median else "all 0"
        return Finding(
            "gradient_vanishing",
            "warning",
            f"gradient norms are {told}",
            iteration,
            iteration,
            evidence={"median": median, "highest": self._highest, "ratio": ratio},
            confidence=0.99,
            advice=given(
                Advice(
                    "",
                    "look for what saturates or cuts the gradient off: a sigmoid, a clamp, a detach, dead units, a mask"
                    " without a single valid pixel",
                ),
                change_rate(self.settings, 0.2, "a step too large may have driven the units out of their range"),
            ),
        )

    def _is_fitted(self, iteration: int, loss: float) -> bool:
        """Whether the loss has fallen so far that small gradients are no wonder."""
        reading = self._losses.read(iteration, loss)
        if reading is None:
            return False
        if self._first_loss is None:
            self._first_loss = reading[0]
        return abs(reading[0]) < 0.1 * abs(self._first_loss)

    def state_dict(self) -> dict[str, Any]:
        """The latest norms and losses, and what they are compared with."""
        return {
            "active": self.active,
            "highest": self._highest,
            "first_loss": self._first_loss,
            "zeros": self._zeros,
            "last_zero": self._last_zero,
            "norms": self._norms.state_dict(),
            "losses": self._losses.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._highest, self._first_loss = state["active"], state["highest"], state["first_loss"]
        self._zeros, self._last_zero = state["zeros"], state["last_zero"]
        self._norms.load_state_dict(state["norms"])
        self._losses.load_state_dict(state["losses"])

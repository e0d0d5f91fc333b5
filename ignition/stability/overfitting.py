"""Finds a validation loss that rises while the training loss still falls."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from ignition.stability.advice import RunSettings, change_rate, given, written
from ignition.stability.finding import Advice, Finding
from ignition.stability.trend import mann_kendall


class Overfitting:
    """Finds a generalization loss ``100 (validation / best - 1)`` above ``alpha`` %, three evaluations in a row.

    GL is Prechelt's (Early stopping, but when?, 1998, who tried alphas of 1 to 5). In each of the three the training
    loss is lower than it was at the best validation loss: where both rise, the run diverges. And the validation losses
    since the best one rise as a whole, by Mann and Kendall's test: the best of noisy values is a lucky one, and most
    that follow lie above it. So it takes five evaluations after the best.

    A target metric that is at a new best stands against it: a network that grows too sure of itself has a rising loss
    and a rising accuracy. It has ended when GL is below half of ``alpha``.

    Of 1407 real runs it found all 66 that ended more than 5 % above their best with a lower training loss, with half of
    the run to come, and none of the 1260 that ended within 2 %. In validation losses with noise of 5 %: 79 % and 5 %
    (benchmarks/evaluation_detectors.py). It misses what only stands still: a network that knows its samples by heart
    and does no worse for it (`Plateau` tells).

    Args:
        alpha: percent.
        target_mode: ``max`` or ``min``, which direction of the target is better, where one is given.
        settings: those of the run, for the advice.
        weight_decay: ``optimizer.weight_decay``, for the advice.

    >>> overfitting = Overfitting()
    >>> validation = [1.0, 0.6, 0.5, 0.51, 0.53, 0.56, 0.58, 0.61]
    >>> findings = [overfitting.update(10 * i, 0.8 - 0.1 * i, loss) for i, loss in enumerate(validation)]
    >>> findings[-1].message
    'validation loss 0.61 is 22 % above its best of 0.5 at iteration 20; the training loss fell from 0.6 to 0.1'
    """

    IN_ROW = 3
    TREND = 2.5  # standard deviations of Mann and Kendall's test
    KEPT = 64  # validation losses since the best one that the test looks at

    def __init__(
        self,
        alpha: float = 3.0,
        *,
        target_mode: Literal["min", "max"] | None = None,
        settings: RunSettings = RunSettings(),
        weight_decay: float | None = None,
    ):
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; it is in percent and must be a number above 0")
        if target_mode not in (None, "min", "max"):
            raise ValueError(f"target_mode is {target_mode!r}; it can be 'min', 'max', or None for no target")
        self.alpha, self.target_mode = alpha, target_mode
        self.settings, self.weight_decay = settings, weight_decay
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes other losses usual."""
        self.active = False
        self._last = -1
        self._best: tuple[int, float, float] | None = None  # iteration, validation loss, training loss
        self._best_target: float | None = None
        self._since: deque[float] = deque(maxlen=self.KEPT)
        self._in_row = 0

    def update(self, iteration: int, training: float, validation: float, target: float | None = None) -> Finding | None:
        """Look at an evaluation.

        Args:
            training: the training loss of the epoch.
            validation: the same loss on data that are not trained on.
            target: a metric on the same data that matters more than the loss.

        Raises:
            ValueError: there is a target, and ``target_mode`` does not say which direction is better.
        """
        if target is not None and self.target_mode is None:
            raise ValueError("target is given; target_mode has to say whether 'min' or 'max' is better")
        if iteration <= self._last or not math.isfinite(training + validation):
            return None
        self._last = iteration
        better_target = self._is_best_target(target)
        if self._best is None or validation < self._best[1]:
            self._best = (iteration, validation, training)
            self._since.clear()
            self._since.append(validation)
            self.active, self._in_row = False, 0
            return None
        self._since.append(validation)
        _, best, training_then = self._best
        rise = validation - best
        percent = 100 * rise / abs(best) if best else math.inf if rise else 0.0
        overfits = percent > self.alpha and training < training_then and not better_target
        self._in_row = self._in_row + 1 if overfits else 0
        if percent <= 0.5 * self.alpha:
            self.active = False
        if self.active or self._in_row < self.IN_ROW:
            return None
        trend = mann_kendall(self._since)
        if trend < self.TREND:
            return None
        self.active = True
        return self._finding(self._best, (iteration, validation, training), percent, trend)

    def _is_best_target(self, target: float | None) -> bool:
        if target is None or not math.isfinite(target):
            return False
        best = self._best_target
        if best is not None and not (target > best if self.target_mode == "max" else target < best):
            return False
        self._best_target = target
        return True

    def _finding(
        self, then: tuple[int, float, float], now: tuple[int, float, float], percent: float, trend: float
    ) -> Finding:
        best_iteration, best, training_then = then
        iteration, validation, training = now
        return Finding(
            "overfitting",
            "warning",
            f"validation loss {validation:.4g} is {percent:.3g} % above its best of {best:.4g} at iteration "
            f"{best_iteration}; the training loss fell from {training_then:.4g} to {training:.4g}",
            best_iteration,
            iteration,
            evidence={
                "validation": validation,
                "best": best,
                "best_iteration": best_iteration,
                "percent": percent if math.isfinite(percent) else str(percent),
                "training": training,
                "training_then": training_then,
                "trend": trend,
            },
            confidence=0.95,
            advice=given(
                Advice(
                    "early_stop.metric=val/loss early_stop.mode=min early_stop.patience=10 "
                    "early_stop.restore_best=true",
                    "what comes after the best epoch makes it worse",
                ),
                self._more_decay(),
                change_rate(self.settings, 0.5, "in fine-tuning smaller steps keep more of what was learned before"),
                Advice("", "more augmentation or data, dropout, or a smaller model; and a validation set large enough"),
            ),
        )

    def _more_decay(self) -> Advice:
        why = "large weights are how single samples are remembered"
        if self.weight_decay is None:
            return Advice("", f"five times the weight decay (optimizer.weight_decay): {why}")
        return Advice(f"optimizer.weight_decay={written(5 * self.weight_decay or 1e-4)}", why)

    def state_dict(self) -> dict[str, Any]:
        """The best evaluation, and the validation losses since."""
        return {
            "active": self.active,
            "last": self._last,
            "best": None if self._best is None else list(self._best),
            "best_target": self._best_target,
            "since": list(self._since),
            "in_row": self._in_row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._in_row = state["active"], state["last"], state["in_row"]
        best = state["best"]
        self._best = None if best is None else (best[0], best[1], best[2])
        self._best_target = state["best_target"]
        self._since = deque(state["since"], maxlen=self.KEPT)

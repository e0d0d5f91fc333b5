"""Finds a metric that no longer gets better."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from ignition.stability.advice import RunSettings, change_rate, given
from ignition.stability.finding import Advice, Finding
from ignition.stability.trend import theil_sen


class Plateau:
    """Finds a best value that has stood for ``patience`` evaluations, with no trend towards a better one.

    Better means by more than ``threshold`` of the best value's size. Patience alone would also speak of a slow descent
    among noise: so the slope of the last ``patience`` values (Theil, 1950; Sen, 1968) must not point to better ones.
    At the end of a schedule every curve is flat: nothing is found while the rate is below 5 % of its highest. A plateau
    at a high rate is often left when the rate falls, so this is no more than worth knowing.

    Where the training loss is known and has fallen by a tenth since the best value, what is learned no longer carries
    over to other data, and the advice is that against overfitting.

    After 79 % of the plateaus that it found in real runs the best value got better by less than 1 %; patience alone was
    right in 74 %, and spoke as often (benchmarks/evaluation_detectors.py, where rates are not known).

    Args:
        patience: evaluations.
        threshold: share of the best value's size that counts as better.
        mode: ``max`` for a metric of which more is better.
        metric: its name in the run's rows.
        settings: those of the run, for the advice.

    >>> plateau = Plateau(patience=5)
    >>> findings = [plateau.update(i, max(0.4, 1 - 0.2 * i)) for i in range(12)]
    >>> [finding.message for finding in findings if finding]
    ['val/loss has stood at 0.4 since iteration 3, for 5 evaluations']
    """

    QUIET = 0.05  # share of the highest rate below which nothing is found
    FELL = 0.1  # share of the training loss

    def __init__(
        self,
        patience: int = 10,
        *,
        threshold: float = 1e-3,
        mode: Literal["min", "max"] = "min",
        metric: str = "val/loss",
        settings: RunSettings = RunSettings(),
    ):
        if patience < 3:
            raise ValueError(f"patience is {patience}; it counts evaluations, and a slope takes at least 3")
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}; it must be a number of at least 0")
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; it can be 'min' or 'max'")
        self.patience, self.threshold, self.mode, self.metric = patience, threshold, mode, metric
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as a restart of the schedule, gives it another chance."""
        self.active = False
        self._last = -1
        self._best: tuple[int, float] | None = None
        self._training: float | None = None  # the loss at the best value
        self._waited = 0
        self._values: deque[tuple[int, float]] = deque(maxlen=self.patience)

    def update(
        self, iteration: int, value: float, *, training: float | None = None, rate_share: float = 1.0
    ) -> Finding | None:
        """Look at an evaluation.

        Args:
            training: the training loss, if it is known.
            rate_share: the present learning rate as a share of the highest so far.
        """
        if iteration <= self._last or not math.isfinite(value):
            return None
        self._last = iteration
        training = training if training is not None and math.isfinite(training) else None
        signed = -value if self.mode == "max" else value
        self._values.append((iteration, signed))
        if self._best is None or signed < self._best[1] - self.threshold * abs(self._best[1]):
            self._best, self._waited, self.active = (iteration, signed), 0, False
            self._training = training
            return None
        self._waited += 1
        if self.active or self._waited < self.patience or rate_share < self.QUIET:
            return None
        slope, _ = theil_sen(*zip(*self._values))
        if slope < 0:
            return None
        self.active = True
        return self._finding(iteration, self._best, training, {"slope": slope})

    def _finding(
        self, iteration: int, then: tuple[int, float], training: float | None, evidence: dict[str, float]
    ) -> Finding:
        since, best = then
        shown = -best if self.mode == "max" else best
        told, memorises = "", False
        if training is not None and self._training is not None:
            memorises = training < self._training - self.FELL * abs(self._training)
            told = f", while the training loss fell from {self._training:.4g} to {training:.4g}" if memorises else ""
            evidence = {**evidence, "training": training, "training_then": self._training}
        return Finding(
            "plateau",
            "info",
            f"{self.metric} has stood at {shown:.4g} since iteration {since}, for {self._waited} evaluations{told}",
            since,
            iteration,
            subject=self.metric,
            evidence={"best": shown, "waited": self._waited, **evidence},
            confidence=0.8,
            advice=given(
                Advice("", "more augmentation or data, dropout or weight decay: it now learns the samples by heart")
                if memorises
                else None,
                Advice(
                    f"schedule.name=plateau schedule.metric={self.metric} schedule.mode={self.mode} "
                    "schedule.factor=0.5 schedule.patience=5",
                    "lowers the rate whenever this happens; most plateaus at a high rate end so",
                ),
                change_rate(self.settings, 0.5, "the same by hand"),
                Advice(
                    f"early_stop.metric={self.metric} early_stop.mode={self.mode} early_stop.patience=15",
                    "where the rate is low already there is nothing to wait for",
                ),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The best value, and the latest."""
        return {
            "active": self.active,
            "last": self._last,
            "best": None if self._best is None else list(self._best),
            "training": self._training,
            "waited": self._waited,
            "values": [list(entry) for entry in self._values],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._waited = state["active"], state["last"], state["waited"]
        best, self._training = state["best"], state["training"]
        self._best = None if best is None else (best[0], best[1])
        self._values = deque(((entry[0], entry[1]) for entry in state["values"]), maxlen=self.patience)

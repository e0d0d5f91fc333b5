"""Hands the rows of steps to the detectors that look at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ignition.stability.advice import RunSettings
from ignition.stability.data_wait import DataWait
from ignition.stability.divergence import Divergence
from ignition.stability.exploding_term import ExplodingTerm
from ignition.stability.finding import Finding
from ignition.stability.gradient_norm import GradientExplosion, GradientVanishing
from ignition.stability.known_changes import KnownChanges
from ignition.stability.learning_rate import LearningRateTooHigh, LearningRateTooLow
from ignition.stability.loss_spike import LossSpike
from ignition.stability.non_finite import NonFinite
from ignition.stability.slow_divergence import SlowDivergence

# Detectors that know which loss is usual: they begin anew where another one is, on purpose.
OF_LEVEL = ("loss_spike", "slow_divergence", "divergence")
# Those that have to where the loss is another sum of its terms.
OF_WEIGHTS = ("exploding_term", "gradient_explosion", "gradient_vanishing", "learning_rate_too_high")


class StepRows:
    """Reads ``train/...`` of the steps, and how fast they are.

    Args:
        settings: those of the run, for the advice.
        changes: what is changed on purpose.
        samples: gives the dataset indices of the batch of an iteration, if somebody knows them.
    """

    WAITS = 4  # rows about speed that a finding about it takes

    def __init__(
        self, settings: RunSettings, changes: KnownChanges, samples: Callable[[int], Sequence[int]] | None = None
    ):
        self.settings, self.changes, self.samples = settings, changes, samples
        self.detectors: dict[str, Any] = {
            "non_finite": NonFinite(settings=settings),
            "loss_spike": LossSpike(settings=settings),
            "slow_divergence": SlowDivergence(settings=settings),
            "divergence": Divergence(settings=settings),
            "exploding_term": ExplodingTerm(),
            "gradient_explosion": GradientExplosion(settings=settings),
            "gradient_vanishing": GradientVanishing(settings=settings),
            "learning_rate_too_high": LearningRateTooHigh(settings=settings),
            "learning_rate_too_low": LearningRateTooLow(settings=settings),
            "data_wait": DataWait(window=self.WAITS, settings=settings),
        }
        self._last = -1
        self._rate = self._highest_rate = 0.0

    @property
    def rate_share(self) -> float:
        """The learning rate as a share of the highest so far."""
        return self._rate / self._highest_rate if self._highest_rate else 1.0

    def read(self, iteration: int, numbers: Mapping[str, float]) -> list[Finding | None]:
        """Look at a step; one that is not newer than the last is passed over."""
        if iteration <= self._last:
            return []
        self._begin_anew(iteration)
        self._last = iteration
        detectors, changes = self.detectors, self.changes
        loss, norm = numbers["train/batch_loss"], numbers.get("train/gradient_norm")
        terms = {name[11:]: value for name, value in numbers.items() if name.startswith("train/loss/")}
        broken = not all(map(math.isfinite, (loss, *terms.values(), norm or 0.0)))
        samples = self.samples(iteration) if broken and self.samples is not None else ()
        self._rate = numbers.get("train/learning_rate", self._rate)
        self._highest_rate = max(self._highest_rate, self._rate)
        ratio = numbers.get("train/update_ratio")
        found = [
            detectors["non_finite"].update(
                iteration,
                terms or {"loss": loss},
                None if norm is None else {"all": norm},
                samples=samples,
                scaled=self.settings.half_precision,
            ),
            detectors["loss_spike"].update(iteration, loss),
            detectors["exploding_term"].update(iteration, loss, terms),
            detectors["learning_rate_too_low"].update(iteration, loss, ratio, rate_share=self.rate_share),
        ]
        if not changes.ramping(iteration):
            found.append(detectors["slow_divergence"].update(iteration, loss))
        if not changes.ramping(iteration) or not math.isfinite(loss):
            found.append(detectors["divergence"].update(iteration, loss, detectors["slow_divergence"]))
        if changes.same_sum(iteration):  # else the first loss says nothing about this one
            found.append(detectors["learning_rate_too_high"].update(iteration, loss, ratio))
        if norm is not None:
            found.append(detectors["gradient_explosion"].update(iteration, norm))
            found.append(detectors["gradient_vanishing"].update(iteration, norm, loss))
        return found

    def read_speed(self, iteration: int, numbers: Mapping[str, float]) -> Finding | None:
        """Look at how long steps take, and how much of that is waiting for data."""
        seconds = numbers.get("train/step_ms_p50", 1000.0) / 1000
        share = numbers["train/data_wait_share"]
        found: Finding | None = self.detectors["data_wait"].update(iteration, share * seconds, (1 - share) * seconds)
        return found

    def _begin_anew(self, iteration: int) -> None:
        of_level = OF_LEVEL if self.changes.of_level(self._last, iteration) else ()
        of_weights = OF_WEIGHTS if self.changes.of_weights(self._last, iteration) else ()
        for name in (*of_level, *of_weights):
            if name in self.detectors:
                self.detectors[name].reset()

    def state_dict(self) -> dict[str, Any]:
        """The last iteration and its rate; detectors have states of their own."""
        return {"last": self._last, "rate": self._rate, "highest_rate": self._highest_rate}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._rate, self._highest_rate = state["last"], state["rate"], state["highest_rate"]

"""Reads the rows of a run, as they come or out of its file, and says what goes wrong in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from ignition.stability.advice import RunSettings
from ignition.stability.data_wait import DataWait
from ignition.stability.divergence import Divergence
from ignition.stability.exploding_term import ExplodingTerm
from ignition.stability.finding import Finding
from ignition.stability.gradient_norm import GradientExplosion, GradientVanishing
from ignition.stability.learning_rate import LearningRateTooHigh, LearningRateTooLow
from ignition.stability.loss_spike import LossSpike
from ignition.stability.non_finite import NonFinite
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.slow_divergence import SlowDivergence
from ignition.stability.unstable_validation import UnstableValidation

Row = Mapping[str, Any]


class Detector(Protocol):
    """What all detectors have; ``update`` is each one's own."""

    @property
    def active(self) -> bool: ...

    def reset(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Doctor:
    """Hands each row's numbers to the detectors that they concern.

    Rows are those of ``metrics.jsonl``, in their order; one that lacks a number costs only what is read from it, and an
    iteration that was seen before is passed over. Numbers that are not finite may be written as ``"NaN"``.

    Args:
        settings: those of the run, for the advice.
        metric: of an evaluation, the one that matters most.
        mode: of ``metric``: ``min`` where lower is better, ``max`` where higher is.
        samples: gives the dataset indices of the batch of an iteration, if somebody knows them.

    >>> doctor = Doctor()
    >>> rows = [{"iteration": i, "train/batch_loss": 2.0 + 0.1 * (i % 7)} for i in range(1, 80)]
    >>> [finding for row in rows for finding in doctor.read(row)]
    []
    >>> [finding.name for finding in doctor.read({"iteration": 80, "train/batch_loss": float("nan")})]
    ['non_finite']
    """

    WAITS = 4  # rows about speed that a finding about it takes

    def __init__(
        self,
        settings: RunSettings = RunSettings(),
        *,
        metric: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        samples: Callable[[int], Sequence[int]] | None = None,
    ):
        self.settings, self.metric, self.samples = settings, metric, samples
        target_mode = mode if metric != "val/loss" else None
        self.detectors: dict[str, Detector] = {
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
            "overfitting": Overfitting(target_mode=target_mode, settings=settings),
            "unstable_validation": UnstableValidation(settings=settings),
            "plateau": Plateau(mode=mode, metric=metric, settings=settings),
            "slow_convergence": SlowConvergence(settings=settings),
        }
        self._rate = self._highest_rate = 0.0
        self._training: float | None = None  # loss of the last epoch
        self._began = False
        self._told: list[str] = []  # detectors that have found something which has not ended

    def read(self, row: Row) -> list[Finding]:
        """What this row shows; what has ended comes as a finding ``recovered`` about it."""
        numbers = {name: number for name, value in row.items() if (number := _number(value)) is not None}
        iteration = int(numbers.pop("iteration", -1))
        found: list[Finding | None] = []
        if "train/batch_loss" in numbers:
            found += self._step(iteration, numbers)
        if "train/data_wait_share" in numbers:
            found.append(self._speed(iteration, numbers))
        if "train/epoch_avg_loss" in numbers:
            found.append(self._epoch(iteration, numbers))
        if "val/loss" in numbers or self.metric in numbers:
            found += self._evaluation(iteration, numbers)
        findings = [finding for finding in found if finding is not None]
        return findings + self._recovered(iteration)

    def _step(self, iteration: int, numbers: dict[str, float]) -> list[Finding | None]:
        detectors: Any = self.detectors
        loss, norm = numbers["train/batch_loss"], numbers.get("train/gradient_norm")
        terms = {name.removeprefix("train/loss/"): value for name, value in numbers.items() if "train/loss/" in name}
        broken = not all(map(math.isfinite, (loss, *terms.values(), norm or 0.0)))
        samples = self.samples(iteration) if broken and self.samples is not None else ()
        self._rate = numbers.get("train/learning_rate", self._rate)
        self._highest_rate = max(self._highest_rate, self._rate)
        share = self._rate_share
        if not self._began and math.isfinite(loss):  # about what the untrained network has
            self._began = True
            detectors["slow_convergence"].update(iteration, loss)
        found = [
            detectors["non_finite"].update(
                iteration,
                terms or {"loss": loss},
                None if norm is None else {"all": norm},
                samples=samples,
                scaled=self.settings.half_precision,
            ),
            detectors["loss_spike"].update(iteration, loss),
            detectors["slow_divergence"].update(iteration, loss),
            detectors["divergence"].update(iteration, loss, detectors["slow_divergence"]),
            detectors["exploding_term"].update(iteration, loss, terms),
            detectors["learning_rate_too_high"].update(iteration, loss),
            detectors["learning_rate_too_low"].update(iteration, loss, rate_share=share),
        ]
        if norm is not None:
            found.append(detectors["gradient_explosion"].update(iteration, norm))
            found.append(detectors["gradient_vanishing"].update(iteration, norm, loss))
        return found

    def _speed(self, iteration: int, numbers: dict[str, float]) -> Finding | None:
        detectors: Any = self.detectors
        seconds = numbers.get("train/step_ms_p50", 1000.0) / 1000
        share = numbers["train/data_wait_share"]
        return detectors["data_wait"].update(iteration, share * seconds, (1 - share) * seconds)

    @property
    def _rate_share(self) -> float:
        """The learning rate as a share of the highest so far."""
        return self._rate / self._highest_rate if self._highest_rate else 1.0

    def _epoch(self, iteration: int, numbers: dict[str, float]) -> Finding | None:
        detectors: Any = self.detectors
        self._training = numbers["train/epoch_avg_loss"]
        return detectors["slow_convergence"].update(iteration, self._training, rate_share=self._rate_share)

    def _evaluation(self, iteration: int, numbers: dict[str, float]) -> list[Finding | None]:
        detectors: Any = self.detectors
        loss, score = numbers.get("val/loss"), numbers.get(self.metric)
        found: list[Finding | None] = []
        if loss is not None:
            found.append(detectors["unstable_validation"].update(iteration, loss))
        if loss is not None and self._training is not None:
            target = score if self.metric != "val/loss" else None
            found.append(detectors["overfitting"].update(iteration, self._training, loss, target))
        if score is not None:
            share = self._rate_share
            found.append(detectors["plateau"].update(iteration, score, training=self._training, rate_share=share))
        return found

    def _recovered(self, iteration: int) -> list[Finding]:
        active = [name for name, detector in self.detectors.items() if detector.active]
        ended = [name for name in self._told if name not in active]
        self._told = active
        return [
            Finding("recovered", "info", f"{name} has ended by iteration {iteration}", iteration, iteration, name)
            for name in ended
        ]

    def reset(self, names: Sequence[str] = ()) -> None:
        """Begin anew with these detectors, all if none is named: after a known change that makes other values usual."""
        for name in names or self.detectors:
            self.detectors[name].reset()

    def state_dict(self) -> dict[str, Any]:
        """What each detector remembers; plain values."""
        states = {name: detector.state_dict() for name, detector in self.detectors.items()}
        own = {"rate": self._rate, "highest_rate": self._highest_rate, "training": self._training, "began": self._began}
        return {"detectors": states, "told": list(self._told), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a run was left. A detector that is new begins anew."""
        for name, saved in state["detectors"].items():
            if name in self.detectors:
                self.detectors[name].load_state_dict(saved)
        self._rate, self._highest_rate = state["rate"], state["highest_rate"]
        self._training, self._began, self._told = state["training"], state["began"], list(state["told"])


def _number(value: Any) -> float | None:
    """A number, also one that a file holds as text because it is not finite; None for anything else."""
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

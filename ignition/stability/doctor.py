"""Reads the rows of a run, as they come or out of its file, and says what goes wrong in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from ignition.stability.absolute import AbsoluteLimits
from ignition.stability.advice import RunSettings
from ignition.stability.evaluation_rows import EvaluationRows
from ignition.stability.finding import Finding
from ignition.stability.known_changes import KnownChanges
from ignition.stability.measurement_rows import MeasurementRows
from ignition.stability.number import number
from ignition.stability.step_rows import StepRows

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

    Rows are those of ``metrics.jsonl`` and ``measurements.jsonl``; of each kind in their order. One that lacks a number
    costs only what is read from it, and an iteration that was seen before is passed over. Numbers that are not finite
    may be written as ``"NaN"``.

    Args:
        settings: those of the run, for the advice.
        metric: of an evaluation, the one that matters most.
        mode: of ``metric``: ``min`` where lower is better, ``max`` where higher is.
        rules: of losses over epochs: ``relative``, or ``absolute`` for `AbsoluteLimits`.
        changes: what is changed on purpose, and no trouble.
        weights: gives the weights of the loss terms at an iteration, empty where each counts 1; None: not known.
        samples: gives the dataset indices of the batch of an iteration, if somebody knows them.

    >>> doctor = Doctor()
    >>> rows = [{"iteration": i, "train/batch_loss": 2.0 + 0.1 * (i % 7)} for i in range(1, 80)]
    >>> [finding for row in rows for finding in doctor.read(row)]
    []
    >>> [finding.name for finding in doctor.read({"iteration": 80, "train/batch_loss": float("nan")})]
    ['non_finite']
    """

    def __init__(
        self,
        settings: RunSettings = RunSettings(),
        *,
        metric: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        rules: Literal["relative", "absolute"] = "relative",
        changes: KnownChanges | None = None,
        weights: Callable[[int], Mapping[str, float]] | None = None,
        samples: Callable[[int], Sequence[int]] | None = None,
    ):
        changes = changes or KnownChanges()
        self.settings, self.metric, self.changes = settings, metric, changes
        self._steps = StepRows(settings, changes, samples)
        self._evaluations = EvaluationRows(settings, changes, metric=metric, mode=mode, rules=rules, weights=weights)
        self._measurements = MeasurementRows(settings, changes)
        self._readers: dict[str, StepRows | EvaluationRows | MeasurementRows] = {
            "steps": self._steps,
            "evaluations": self._evaluations,
            "measurements": self._measurements,
        }
        self.detectors: dict[str, Detector] = {}
        for reader in self._readers.values():
            self.detectors |= reader.detectors
        self._told: list[str] = []  # what has been found and has not ended

    def read(self, row: Row) -> list[Finding]:
        """What this row shows; what has ended comes as a finding ``recovered`` about it."""
        numbers = {name: value for name, held in row.items() if (value := number(held)) is not None}
        iteration = int(numbers.pop("iteration", -1))
        found: list[Finding | None] = []
        evaluated = "val/loss" in numbers or self.metric in numbers
        if "train/batch_loss" in numbers:
            self._evaluations.begin(iteration, numbers["train/batch_loss"])
            found += self._steps.read(iteration, numbers)
        else:  # rows of these kinds are few, those of steps many
            found += self._measurements.read(iteration, row)
            self._evaluations.read_baseline(numbers)
            evaluated = evaluated or any(name.startswith("val/") for name in numbers)
        if "train/data_wait_share" in numbers:
            found.append(self._steps.read_speed(iteration, numbers))
        if "train/epoch_avg_loss" in numbers:
            found.append(self._evaluations.read_epoch(iteration, numbers, self._steps.rate_share))
        if evaluated:
            found += self._evaluations.read(iteration, numbers, self._steps.rate_share)
        findings = [finding for finding in found if finding is not None]
        # Nothing begins without a finding, so that most rows need not ask all detectors.
        return findings + self._recovered(iteration) if findings or self._told else findings

    def _recovered(self, iteration: int) -> list[Finding]:
        active = self._active()
        ended = [name for name in self._told if name not in active]
        self._told = active
        return [
            Finding("recovered", "info", f"{name} has ended by iteration {iteration}", iteration, iteration, name)
            for name in ended
        ]

    def _active(self) -> list[str]:
        """What has been found and has not ended, by the names of findings."""
        names: list[str] = []
        for name, detector in self.detectors.items():
            if detector.active:
                names += detector.passed if isinstance(detector, AbsoluteLimits) else (name,)
        return names

    def reset(self, names: Sequence[str] = ()) -> None:
        """Begin anew with these detectors, all if none is named: after a change that `changes` does not know of."""
        for name in names or self.detectors:
            self.detectors[name].reset()

    def take_back(self, iteration: int) -> None:
        """The run has weights of before ``iteration`` again: what was usual before is usual now."""
        for detector in self.detectors.values():
            if hasattr(detector, "take_back"):
                detector.take_back(iteration)

    def state_dict(self) -> dict[str, Any]:
        """What each detector remembers; plain values."""
        states = {name: detector.state_dict() for name, detector in self.detectors.items()}
        rows = {name: reader.state_dict() for name, reader in self._readers.items()}
        return {"detectors": states, "rows": rows, "told": list(self._told)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a run was left. A detector that is new begins anew."""
        for name, saved in state["detectors"].items():
            if name in self.detectors:
                self.detectors[name].load_state_dict(saved)
        for name, reader in self._readers.items():
            reader.load_state_dict(state["rows"][name])
        self._told = list(state["told"])

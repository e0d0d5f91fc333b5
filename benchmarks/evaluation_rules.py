"""The detectors that look at evaluations, and the rules that people use, as they are handed a real run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from evaluation_curves import Run

from ignition.stability.absolute import AbsoluteLimits
from ignition.stability.collapse import Collapse
from ignition.stability.dead_term import DeadTerm
from ignition.stability.dead_units import DeadUnits
from ignition.stability.finding import Finding
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.trend import around_line
from ignition.stability.unstable_validation import UnstableValidation

Rule = Callable[[Run], int | None]  # the evaluation at which it first speaks


class PlainGL:
    """Prechelt's GL above 5 %, three in a row, and nothing else."""

    def __init__(self, alpha: float = 5.0):
        self._alpha, self._best, self._in_row = alpha, math.inf, 0

    def update(self, iteration: int, validation: float) -> bool:
        self._best = min(self._best, validation)
        self._in_row = self._in_row + 1 if 100 * (validation / self._best - 1) > self._alpha else 0
        return self._in_row >= 3


class Patience:
    """No validation loss better than the best by a ten-thousandth, for so many evaluations: ReduceLROnPlateau."""

    def __init__(self, patience: int = 10, threshold: float = 1e-4):
        self._patience, self._threshold, self._best, self._waited = patience, threshold, math.inf, 0

    def update(self, iteration: int, validation: float) -> bool:
        if math.isinf(self._best) or validation < self._best * (1 - self._threshold):
            self._best, self._waited = validation, 0
            return False
        self._waited += 1
        return self._waited > self._patience


class ScatterAlone:
    """Scatter around a line through 5 above 10 % of the gain, and nothing else: a steep fall is scatter as well."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def update(self, iteration: int, validation: float) -> bool:
        self._values.append(validation)
        gain = self._values[0] - min(self._values)
        return len(self._values) >= 5 and around_line(range(5), self._values[-5:]) > 0.1 * gain


def first(found: Iterable[Any]) -> int | None:
    """The place of the first that is something."""
    return next((place for place, what in enumerate(found) if what), None)


def on_validation(make: Callable[[], Any]) -> Rule:
    def rule(run: Run) -> int | None:
        detector = make()
        return first(detector.update(int(i), float(v)) for i, v in zip(run.step, run.validation))

    return rule


def on_both(make: Callable[[], Any], name: str = "") -> Rule:
    """For those that look at the training loss as well; ``name``: only such findings count."""

    def rule(run: Run) -> int | None:
        detector = make()
        found = (detector.update(int(i), float(t), float(v)) for i, t, v in zip(run.step, run.training, run.validation))
        return first([f for f in what if f.name == name] if name and what else what for what in found)

    return rule


def with_target(run: Run) -> int | None:
    if run.target is None or len(run.target) != len(run.step):
        return on_both(Overfitting)(run)
    detector = Overfitting(target_mode=run.target_mode)  # type: ignore[arg-type]
    rows = zip(run.step.tolist(), run.training.tolist(), run.validation.tolist(), run.target.tolist())
    return first(detector.update(*row) for row in rows)


def on_training(run: Run) -> int | None:
    detector = SlowConvergence()
    return first(detector.update(int(i), float(t)) for i, t in zip(run.step, run.training))


RULES: dict[str, Rule] = {
    "**Overfitting**": on_both(Overfitting),
    "Overfitting, and its target given": with_target,
    "Overfitting, alpha 5": on_both(lambda: Overfitting(5.0)),
    "GL above 5 %, 3 in a row": on_validation(PlainGL),
    "**UnstableValidation**": on_validation(UnstableValidation),
    "scatter around a line above 10 % of the gain": on_validation(ScatterAlone),
    "**Plateau**": on_validation(Plateau),
    "**SlowConvergence**": on_training,
    "patience 10 (ReduceLROnPlateau)": on_validation(Patience),
    "patience 5": on_validation(lambda: Patience(5)),
    "absolute: deviation above 0.05": on_both(AbsoluteLimits, "unstable_validation"),
    "absolute: gap above 0.10": on_both(AbsoluteLimits, "overfitting"),
    "absolute: improvement below 0.05 in 5": on_both(AbsoluteLimits, "slow_convergence"),
    "absolute: any of them": on_both(AbsoluteLimits),
}


def creeps(rows: Sequence[dict[str, Any]]) -> int | None:
    detector = SlowConvergence()
    return first(detector.update(values["iteration"], values["training"]) for values in rows)


def findings_of(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """What all detectors find in a run's evaluations."""
    overfitting, unstable, plateau, creeping = Overfitting(), UnstableValidation(), Plateau(), SlowConvergence()
    dead, collapse, units = DeadTerm(), Collapse(), DeadUnits()
    found: list[Finding | None] = []
    for values in rows:
        at, training, validation = values["iteration"], values["training"], values["validation"]
        found += [overfitting.update(at, training, validation), unstable.update(at, validation)]
        found += [plateau.update(at, validation), creeping.update(at, training), units.update(at, values["units"])]
        found += dead.update(at, values["errors"], values["trivial"]) + collapse.update(at, values["signals"])
    return [finding for finding in found if finding]

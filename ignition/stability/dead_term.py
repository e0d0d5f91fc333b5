"""Finds a part of what is to be predicted that is not learned at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, weigh
from ignition.stability.finding import Advice, Finding


class DeadTerm:
    """Finds a term that a trivial predictor does as well: ``R2 = 1 - error / trivial`` below ``least``, five in a row.

    ``error`` is the term's error on validation data, and ``trivial`` that of the best constant, which is the variance
    of the targets where errors are squared; 1 for targets of unit variance. The sum of all terms falls nicely while one
    of them stands still: that costs whole runs before anybody looks. Where there are several terms, one of them has to
    be learned (twice ``least``) before another one is called dead: a run that learns nothing yet has another fault. One
    whose error has fallen by a tenth within the five is being learned, though from far above the constant: errors that
    are no squares, such as 1 - SSIM, are there for some epochs. It has ended when R2 is twice ``least``.

    It names the rotation, and nothing else, after the fifth epoch of all four real runs of an autoencoder that never
    learned it. In small trainings it found a term that is noise in 10 of 10, one weighted 1/1000 in 4 of 5 with SGD,
    where it ended at an R2 of 0.04 to 0.17, and none in 60 healthy ones (benchmarks/evaluation_detectors.py). What
    learns later than its fifth evaluation is a false alarm.

    Args:
        least: R2.
        evaluations: how many in a row.
        settings: those of the run, for the advice.

    >>> dead = DeadTerm()
    >>> errors = [{"xy": 0.4 - 0.02 * i, "rotation": 1.002 - 0.0004 * i} for i in range(5)]
    >>> trivial, weights = {"xy": 1.0, "rotation": 1.0}, {"rotation": 1.0}
    >>> found = [dead.update(i, error, trivial, weights) for i, error in enumerate(errors)]
    >>> found[-1][0].message, found[-1][0].advice[0].override
    ("'rotation' is not learned: its error of 1 is that of a constant (R2 -0.0004, 5 evaluations)", 'loss.rotation=3.0')
    """

    FALLEN = 0.9  # of the error that it began with
    FACTOR = 3.0  # what the weight is multiplied by in the advice, as dividing terms by 1 to 3 channels does

    def __init__(self, least: float = 0.02, *, evaluations: int = 5, settings: RunSettings = RunSettings()):
        if not least < 1:
            raise ValueError(f"least is {least}; it is an R2 and must be a number below 1")
        if evaluations < 1:
            raise ValueError(f"evaluations is {evaluations}; it must be at least 1")
        self.least, self.evaluations, self.settings = least, evaluations, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight, gives terms another chance."""
        self._last = -1
        self._in_row: dict[str, int] = {}
        self._began: dict[str, int] = {}
        self._from: dict[str, float] = {}
        self._dead: list[str] = []

    @property
    def active(self) -> bool:
        """Whether some term is dead."""
        return bool(self._dead)

    @property
    def dead(self) -> tuple[str, ...]:
        """Those that are, in the order in which they were found."""
        return tuple(self._dead)

    def update(
        self,
        iteration: int,
        errors: Mapping[str, float],
        trivial: Mapping[str, float],
        weights: Mapping[str, float] | None = None,
    ) -> list[Finding]:
        """Look at an evaluation.

        Args:
            errors: by term. One that is not finite does not count.
            trivial: the error of a trivial predictor by term; terms that have none, or one of 0, are not judged.
            weights: of the terms in the loss, if they are known; terms of weight 0 are meant to be dead.
        """
        if iteration <= self._last:
            return []
        self._last = iteration
        known = weights or {}
        scores = {
            name: 1 - error / trivial[name]
            for name, error in errors.items()
            if math.isfinite(error) and 0 < trivial.get(name, 0.0) < math.inf
        }
        something = len(scores) < 2 or any(r2 >= 2 * self.least for r2 in scores.values())
        findings = []
        for name, r2 in scores.items():
            meant = known.get(name) == 0
            if name in self._dead and (r2 >= 2 * self.least or meant):
                self._dead.remove(name)
            if r2 >= self.least or meant:
                self._in_row[name] = 0
                continue
            if self._in_row.get(name, 0) == 0 or errors[name] < self.FALLEN * self._from[name]:
                self._began[name], self._from[name], self._in_row[name] = iteration, errors[name], 0
            self._in_row[name] = self._in_row.get(name, 0) + 1
            if something and self._in_row[name] >= self.evaluations and name not in self._dead:
                self._dead.append(name)
                findings.append(self._finding(iteration, name, errors[name], trivial[name], known))
        return findings

    def _finding(
        self, iteration: int, name: str, error: float, trivial: float, weights: Mapping[str, float]
    ) -> Finding:
        r2, count = 1 - error / trivial, self._in_row[name]
        why = "divide each term by its number of channels, or raise this one: a sum cares for its largest terms alone"
        weight = weights.get(name)
        new = weigh(self.settings, {name: self.FACTOR * weight}, weights) if weight else ""
        return Finding(
            "dead_term",
            "warning",
            f"'{name}' is not learned: its error of {error:.4g} is that of a constant "
            f"(R2 {r2:.2g}, {count} evaluations)",
            self._began[name],
            iteration,
            subject=name,
            evidence={"error": error, "trivial": trivial, "r2": r2, "evaluations": count},
            confidence=0.9,
            advice=(
                Advice(new, why),
                Advice(
                    "",
                    f"see whether '{name}' can be predicted from the input at all: an angle that wraps around, for "
                    "instance, cannot by a squared error; its sine and cosine can",
                ),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """For how long each term has been near a constant, and which are dead."""
        return {
            "last": self._last,
            "in_row": dict(self._in_row),
            "began": dict(self._began),
            "from": dict(self._from),
            "dead": list(self._dead),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._in_row = state["last"], dict(state["in_row"])
        self._began, self._dead = dict(state["began"]), list(state["dead"])
        self._from = dict(state["from"])

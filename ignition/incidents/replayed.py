"""What comes of running an incident again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ignition.incidents.trial import Trial
from ignition.incidents.verdict import Judged, Limits, Verdict


@dataclass(frozen=True)
class Step:
    """An iteration that was run again: its numbers, those of the log (None where it has none), and how far it went.

    ``moved`` is the norm of what the step changed as a share of the weights' norm; 0 where none was taken.
    """

    iteration: int
    loss: float
    logged: float | None
    gradient_norm: float | None = None
    logged_norm: float | None = None
    moved: float = 0.0

    @property
    def identical(self) -> bool | None:
        """Whether both losses are the same, bit for bit; None where the log has none."""
        if self.logged is None:
            return None
        return self.loss == self.logged or (math.isnan(self.loss) and math.isnan(self.logged))


@dataclass
class Comparison:
    """The guilty batches and others, tried in the state after ``iteration``."""

    iteration: int
    guilty: Trial
    others: dict[tuple[int, ...], Trial]  # by the numbers of the batches in their epoch, from 0
    limits: Limits

    def judged(self) -> Judged:
        """What of it is bad."""
        others = [self.limits.why_bad(one.loss, one.gradient_norm) for one in self.others.values()]
        return Judged(self.iteration, self.why_bad(self.guilty), others)

    def why_bad(self, trial: Trial) -> str:
        """In words; empty where it is not."""
        return self.limits.why_bad(trial.loss, trial.gradient_norm)


@dataclass
class Replayed:
    """All that came of it.

    Attributes:
        steps: the iterations that were run again.
        tests: in the state from before, in that in which it began and, of what went on for a while, in its last.
        samples: of the guilty batch, each alone: None where it cannot be run alone.
        samples_in: the state in which these were tried.
        bad_samples: without which the batch is fine.
        without: the batch without them.
        of_the_moment: what is bad is fine with the loss weights and random numbers of the iterations before.
        notes: what may make the numbers others than they were.
    """

    incident: Mapping[str, Any]
    batches: list[list[int]]
    steps: list[Step] = field(default_factory=list)
    tests: list[Comparison] = field(default_factory=list)
    samples: dict[int, Trial | None] = field(default_factory=dict)
    bad_samples: list[int] = field(default_factory=list)
    samples_in: int = 0
    without: Trial | None = None
    of_the_moment: bool = False
    verdict: Verdict = field(default_factory=lambda: Verdict("neither", ""))
    notes: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether every loss that the log has came out the same, bit for bit."""
        return all(step.identical is not False for step in self.steps)

    @property
    def difference(self) -> float:
        """The largest difference of a loss from the logged one, as a share of it."""
        pairs = [(step.loss, step.logged) for step in self.steps if step.logged is not None and not step.identical]
        shares = [abs(loss - logged) / max(abs(logged), 1e-30) for loss, logged in pairs]
        return max((share if math.isfinite(share) else math.inf for share in shares), default=0.0)

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Norms of each parameter in the guilty step, those that are not finite first, then by gradient."""

        def rank(layer: Mapping[str, Any]) -> tuple[bool, float]:
            numbers = [value for name, value in layer.items() if name != "parameter"]
            gradient = layer.get("gradient", 0.0)
            return all(map(math.isfinite, numbers)), -gradient if math.isfinite(gradient) else 0.0

        trial = self.tests[1].guilty
        return sorted(({"parameter": name, **norms} for name, norms in trial.layers.items()), key=rank)

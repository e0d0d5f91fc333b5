"""Figures of what detectors said, with their intervals, as cells of Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from curves import Segment

SPIKE, SLOW = "spike of 20 σ", "slow divergence, σ (exp(t/30) - 1)"  # the faults that detectors are compared by
RESAMPLES = 2000


@dataclass(eq=False)
class Answers:
    """What one detector said: false alarms [segments], and for each fault and segment the delays [places] in values."""

    alarms: np.ndarray
    delays: dict[str, list[np.ndarray]]

    def __or__(self, other: Answers) -> Answers:
        """Of both detectors together."""
        delays = {name: list(map(np.minimum, self.delays[name], other.delays[name])) for name in self.delays}
        return Answers(self.alarms + other.alarms, delays)


class Part:
    """Some of the segments, drawn again and again by their runs."""

    def __init__(self, segments: Sequence[Segment], chosen: Sequence[bool]):
        self.chosen = np.flatnonzero(chosen)
        self.points = np.array([len(segments[i].loss) for i in self.chosen])
        runs: dict[str, int] = {}
        self._run = np.array([runs.setdefault(segments[i].run, len(runs)) for i in self.chosen])
        self.runs = len(runs)
        random = np.random.default_rng(0)
        self._weights = random.multinomial(self.runs, np.full(self.runs, 1 / self.runs), size=RESAMPLES)

    def _share(self, above: np.ndarray, below: np.ndarray, most: float) -> tuple[float, float, float]:
        """The sum of one over the sum of the other, of each segment, and its interval.

        None or all of ``most`` cannot be drawn any other: there it is the rule of three, over runs.
        """
        over, under = (np.bincount(self._run, weights=x, minlength=self.runs) for x in (above, below))
        drawn = (self._weights @ over) / np.maximum(self._weights @ under, 1e-9)
        low, high = np.quantile(drawn, [0.025, 0.975])
        share = over.sum() / max(under.sum(), 1e-9)
        if share == 0:
            high = most * 3 / self.runs
        if share == most:
            low = most * (1 - 3 / self.runs)
        return share, low, high

    def false_alarms(self, answers: Answers) -> tuple[float, float, float]:
        return self._share(1000 * answers.alarms[self.chosen], self.points, 1000 * self.runs / self.points.sum())

    def flagged(self, answers: Answers) -> tuple[float, float, float]:
        return self._share(100.0 * (answers.alarms[self.chosen] > 0), np.ones(len(self.chosen)), 100)

    def recall(self, answers: Answers, fault: str, within: int) -> tuple[float, float, float]:
        delays = [answers.delays[fault][i] for i in self.chosen]
        return self._share(
            np.array([100.0 * (d < within).sum() for d in delays]), np.array([d.size for d in delays]), 100
        )

    def figures(self, answers: Answers) -> list[str]:
        """Those that detectors are compared by."""
        return [
            told(self.false_alarms(answers), 2),
            told(self.flagged(answers), 1),
            told(self.recall(answers, SPIKE, 25), 1),
            told(self.recall(answers, SLOW, 60), 1),
        ]

    def delay(self, answers: Answers, fault: str) -> str:
        delays = np.concatenate([answers.delays[fault][i] for i in self.chosen])
        middle = np.median(delays) if len(delays) else math.inf
        return f"{middle:.0f}" if math.isfinite(middle) else "–"


def header(columns: str) -> None:
    """The head of a table."""
    print(f"| {columns} |\n|{'---|' * (columns.count(' | ') + 1)}")


def told(share: tuple[float, float, float], digits: int) -> str:
    """A figure and its interval."""
    return f"{share[0]:.{digits}f} ({share[1]:.{digits}f} to {share[2]:.{digits}f})"

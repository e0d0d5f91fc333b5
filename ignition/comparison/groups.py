"""Runs of one config under several seeds, taken together."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from dataclasses import dataclass

from ignition.comparison.config_difference import experiment
from ignition.comparison.figures import figure
from ignition.comparison.run_summary import RunSummary, first_difference


@dataclass(frozen=True)
class Group:
    """Runs of one experiment.

    Attributes:
        name: what it is called.
        runs: one for each seed, by seed: what it is judged by.
        notes: what is odd about it, in words.
    """

    name: str
    runs: tuple[RunSummary, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, runs: list[RunSummary]) -> Group:
        """A group of ``runs``, of which those that repeat a seed count once."""
        kept: dict[object, RunSummary] = {}
        notes = []
        for run in runs:
            key = run.seed if run.seed is not None else run.path
            if key not in kept:
                kept[key] = run
                continue
            difference = first_difference(kept[key], run)
            one, other = _both_names(kept[key], run)
            alike = "no difference: the same bit for bit" if difference is None else f"they differ from {difference}"
            notes.append(f"{one} and {other} are one config under one seed, {alike}; counted once")
        notes += [f"{run.name} is not whole: {run.status}, {run.reason}" for run in kept.values() if not run.complete]
        ordered = sorted(kept.values(), key=lambda run: (run.seed is None, run.seed or 0))
        return cls(name, tuple(ordered), tuple(notes))

    @property
    def first(self) -> RunSummary:
        """The run of the lowest seed, for what all of them share."""
        return self.runs[0]

    def figures(self, name: str) -> list[float]:
        """A figure of each run; NaN where a run has it not."""
        return [figure(run, name) for run in self.runs]

    def mean(self, name: str) -> float:
        """The mean over the seeds; NaN as soon as one is missing."""
        values = self.figures(name)
        return statistics.fmean(values) if values else math.nan


def grouped(runs: list[RunSummary]) -> list[Group]:
    """The runs by experiment, in the order in which their first ones come."""
    by_experiment: dict[str, list[RunSummary]] = {}
    for run in runs:
        by_experiment.setdefault(repr(sorted(experiment(run.config).items(), key=str)), []).append(run)
    names = [_common_name(members) for members in by_experiment.values()]
    twice = Counter(names)
    return [
        Group.of(name if twice[name] == 1 else f"{name} ({members[0].name})", members)
        for name, members in zip(names, by_experiment.values())
    ]


def _common_name(runs: list[RunSummary]) -> str:
    """What the folders' names have in common before a number or a seed; else the first one's name."""
    stems = {re.sub(r"[-_]?(seed[-_]?)?\d+$", "", run.name) for run in runs}
    return (stems.pop() if len(stems) == 1 and len(runs) > 1 else "") or runs[0].name


def _both_names(one: RunSummary, other: RunSummary) -> tuple[str, str]:
    return (one.name, other.name) if one.name != other.name else (str(one.path), str(other.path))

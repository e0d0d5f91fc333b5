"""What came out of a study: its groups of runs, their comparison, and a verdict for each expectation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ignition.comparison import Comparison, ComparisonError, Group, RunSummary, known_figures
from ignition.comparison.figures import check_figure
from ignition.studies.schedule import ENDED, Job, jobs
from ignition.studies.study import Study
from ignition.studies.verdict import Verdict, judge


def check_metrics(study: Study, folder: Path) -> None:
    """Look whether a run has every figure that the study asks for.

    Raises:
        UnknownFigure: it has one not; lists those there are.
    """
    known = known_figures([RunSummary.read(folder)])
    for name in study.figures:
        check_figure(name, known)


@dataclass(frozen=True)
class Outcome:
    """A study and the folder of its runs, read as they are now."""

    study: Study
    folder: Path

    @cached_property
    def jobs(self) -> list[Job]:
        """The runs that the study compares."""
        return [job for job in jobs(self.study, self.folder) if not job.prepares]

    @cached_property
    def missing(self) -> list[Job]:
        """Those that have not come to an end."""
        return [job for job in self.jobs if job.state not in ENDED]

    @cached_property
    def groups(self) -> Mapping[str, Group]:
        """The runs that have ended, by variant, the reference first."""
        found: dict[str, list[RunSummary]] = {variant: [] for variant in self.study.variants}
        for job in self.jobs:
            if job.state in ENDED:
                found[job.variant].append(RunSummary.read(job.folder))
        return {variant: Group.of(variant, runs) for variant, runs in found.items() if runs}

    @cached_property
    def comparison(self) -> Comparison:
        """All groups beside the reference.

        Raises:
            ComparisonError: nothing has been run.
            UnknownFigure: the study asks for a metric that no run has.
        """
        if not self.groups:
            raise ComparisonError(f"{self.folder}: none of the {len(self.jobs)} runs of this study has ended yet")
        return Comparison(list(self.groups.values()), self.study.figures)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One for each expectation, in the order of the file."""
        return [judge(expectation, self.groups) for expectation in self.study.expectations]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "study": str(self.study.path),
            "question": self.study.file.question,
            "folder": str(self.folder),
            "missing": [job.name for job in self.missing],
            "verdicts": [
                {
                    "figure": verdict.expectation.figure,
                    "of": verdict.expectation.of,
                    "expected": verdict.expectation.text,
                    "said": verdict.expectation.said,
                    "scaled": verdict.expectation.scaled,
                    "verdict": verdict.word,
                    "why": verdict.why,
                    "values": list(verdict.values),
                }
                for verdict in self.verdicts
            ],
            **self.comparison.to_dict(),
        }

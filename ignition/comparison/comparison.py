"""Several groups of runs beside the first of them: what differs, and by more than chance or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ignition.comparison import config_difference
from ignition.comparison.config_difference import Difference as Setting
from ignition.comparison.figures import OWN, check_figure, figure, full, is_ratio, known_figures, of_loss, split
from ignition.comparison.groups import Group, grouped
from ignition.comparison.run_summary import ComparisonError, RunSummary
from ignition.comparison.significance import Difference, difference, holm

SIGNIFICANT = 0.05
OTHER_SCALE = "another loss, another scale"


@dataclass(frozen=True)
class Test:
    """A figure of a group held against that of the reference.

    Attributes:
        figure: its name.
        found: what was measured; None where nothing could be.
        p: its p, held against all the figures that were tested between these two groups.
        why_not: where nothing was tested, why, in words.
    """

    figure: str
    found: Difference | None = None
    p: float = math.nan
    why_not: str = ""

    @property
    def significant(self) -> bool:
        """Whether it is more than chance."""
        return self.p < SIGNIFICANT

    def word(self, better: str) -> str:
        """What is to be said of it in a cell of a table."""
        if self.found is None:
            return self.why_not
        lower = self.found.by.estimate < (1.0 if self.is_ratio else 0.0)
        sd = f"{abs(self.found.effect.estimate):.2g} sd"
        if not self.significant:
            more = f", about {self.found.seeds} seeds each would tell" if self.found.seeds else ""
            return f"cannot be told apart ({sd}, p {self.p:.2g}{more})"
        if better in ("low", "high"):
            return f"{'better' if lower == (better == 'low') else 'worse'} by {sd} (p {self.p:.2g})"
        return f"{'lower' if lower else 'higher'} by {sd} (p {self.p:.2g})"

    @property
    def is_ratio(self) -> bool:
        """Whether the difference is a factor."""
        return is_ratio(self.figure)


@dataclass(frozen=True)
class Comparison:
    """Groups of runs; the first is what the others are held against.

    Args:
        groups: of one recipe.
        metrics: figures to show and test besides the usual ones.

    Raises:
        ComparisonError: nothing to compare, or runs of several recipes.
        UnknownFigure: a metric that no run has.
    """

    groups: list[Group]
    metrics: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        tasks = {run.task for group in self.groups for run in group.runs}
        if len(tasks) > 1:
            members = ", ".join(f"{group.first.name}: {group.first.task}" for group in self.groups)
            raise ComparisonError(f"runs of different recipes cannot be compared ({members}): give those of one recipe")
        for name in self.metrics:
            check_figure(name, self.known)

    @classmethod
    def of(cls, runs: list[RunSummary], metrics: list[str] | None = None) -> Comparison:
        """Runs, grouped by what they share but for the seed.

        Raises:
            ComparisonError: fewer than two runs, or runs of several recipes.
            UnknownFigure: a metric that no run has.
        """
        if len(runs) < 2:
            raise ComparisonError("one run alone is compared with nothing: give two or more")
        return cls(grouped(runs), metrics or [])

    @property
    def runs(self) -> list[RunSummary]:
        """All runs that count."""
        return [run for group in self.groups for run in group.runs]

    @property
    def reference(self) -> Group:
        """What the others are held against."""
        return self.groups[0]

    @cached_property
    def known(self) -> list[str]:
        """All metrics that any run has."""
        return known_figures(self.runs)

    @cached_property
    def figures(self) -> list[str]:
        """The figures of the table: of the metric that chooses the best epoch, of steadiness, and those asked for."""
        chosen = list(dict.fromkeys(run.metric for run in self.runs if run.metric in self.known))
        of_metrics = [f"{word} {name}" for name in chosen for word in ("final", "best")]
        asked = [full(name) for name in self.metrics]
        return list(dict.fromkeys([*of_metrics, *asked, *OWN]))

    @cached_property
    def others(self) -> list[str]:
        """Validation metrics besides, which are shown and not tested."""
        shown = {split(name)[1] for name in self.figures}
        plain = [name for name in self.known if name.startswith("val/") and name.count("/") == 1]
        return [name for name in plain if name not in shown]

    @cached_property
    def settings(self) -> list[Setting]:
        """In which settings the groups differ."""
        return config_difference.differences([group.first.config for group in self.groups])

    def word(self, group: Group) -> str:
        """What was changed from the reference to ``group``: one thing, or several at once."""
        return config_difference.word(self.changes(group))

    def changes(self, group: Group) -> list[Setting]:
        """The settings in which ``group`` differs from the reference."""
        return config_difference.differences([self.reference.first.config, group.first.config])

    def tests(self, group: Group) -> list[Test]:
        """Each figure of ``group`` held against the reference's, all of them at once."""
        other_loss = any(setting.key.split(".")[0] == "loss" for setting in self.changes(group))
        tests = [self._test(name, group, other_loss) for name in self.figures]
        adjusted = holm([test.p for test in tests])
        return [Test(test.figure, test.found, p, test.why_not) for test, p in zip(tests, adjusted)]

    def _test(self, name: str, group: Group, other_loss: bool) -> Test:
        word, metric = split(name)
        if not word and metric in OWN and not OWN[metric].tested:
            return Test(name)
        if other_loss and of_loss(name):
            return Test(name, why_not=OTHER_SCALE)
        ones, others = ([v for v in of.figures(name) if math.isfinite(v)] for of in (group, self.reference))
        if len(ones) < 2 or len(others) < 2:
            return Test(name, why_not="one seed" if ones and others else "not in both")
        if sorted(ones) == sorted(others):
            return Test(name, why_not="no difference")
        found = difference(ones, others, ratio=is_ratio(name))
        if math.isnan(found.p):
            return Test(name, why_not="no spread to judge it by")
        return Test(name, found, found.p)

    def better(self, name: str) -> str:
        """Whether a low or a high value of a figure is better; empty where that is not known."""
        word, metric = split(name)
        if not word:
            return OWN[metric].better if metric in OWN else "low"
        if word in ("final", "best", "first", "lowest", "highest") or word.startswith("epoch"):
            modes = {run.mode for run in self.runs if run.metric == metric}
            if modes:
                return {"min": "low", "max": "high"}.get(modes.pop(), "") if len(modes) == 1 else ""
        return "low" if metric == "val/loss" or word == "spread" else ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "task": self.reference.first.task,
            "reference": self.reference.name,
            "groups": [self._group(group) for group in self.groups],
            "differences": [
                {"key": setting.key, **dict(zip([group.name for group in self.groups], setting.values))}
                for setting in self.settings
            ],
        }

    def _group(self, group: Group) -> dict[str, Any]:
        names = [*self.figures, *self.others]
        values: dict[str, Any] = {
            "name": group.name,
            "hypothesis": group.first.hypothesis,
            "notes": list(group.notes),
            "runs": [
                {"path": str(run.path), "seed": run.seed, "status": run.status, "reason": run.reason,
                 **{name: figure(run, name) for name in names}}
                for run in group.runs
            ],
        }  # fmt: skip
        if group is not self.reference:
            values["changed"] = config_difference.things(self.changes(group))
            values["tests"] = [self._told(test) for test in self.tests(group) if test.found or test.why_not]
        return values

    def _told(self, test: Test) -> dict[str, Any]:
        values: dict[str, Any] = {"figure": test.figure, "said": test.word(self.better(test.figure))}
        if test.found is not None:
            by, effect = test.found.by, test.found.effect
            values |= {
                "factor" if test.is_ratio else "difference": by.estimate, "low": by.low, "high": by.high,
                "significant": test.significant, "p": test.p, "p_permutation": test.found.p_permutation,
                "effect": effect.estimate, "effect_low": effect.low, "effect_high": effect.high,
                "seeds": test.found.seeds,
            }  # fmt: skip
        return values

"""Whether what was expected held: told with an interval over the seeds, or not at all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ignition.comparison.config_difference import differences
from ignition.comparison.figures import figure, is_ratio, of_loss, split
from ignition.comparison.groups import Group
from ignition.comparison.significance import Interval, difference_interval, mean_interval
from ignition.studies.expectation import TRIVIAL, Clause
from ignition.studies.study import Expectation

HELD, FAILED, OPEN = "held", "failed", "not decidable"


@dataclass(frozen=True)
class Verdict:
    """What became of an expectation.

    Attributes:
        word: ``held``, ``failed`` or ``not decidable``.
        why: the numbers, or what is missing.
        values: the figure in each run of the variant.
    """

    expectation: Expectation
    word: str
    why: str
    values: tuple[float, ...] = ()


def judge(expectation: Expectation, groups: Mapping[str, Group]) -> Verdict:
    """Hold an expectation against the runs of its variant.

    A limit is kept where the 95 % interval of the mean over the seeds (Student's t; beside another variant Welch's)
    lies on its right side as a whole, missed where it lies on the wrong side, and else it cannot be decided.
    """
    group = groups.get(expectation.of)
    if group is None or not group.runs:
        return Verdict(expectation, OPEN, f"there are no runs of {expectation.of}")
    values = group.figures(expectation.figure)
    words, whys = [], []
    for clause in expectation.clauses:
        word, why = _judge(clause, expectation.figure, group, groups)
        words.append(word)
        whys.append(f"{clause}: {word}, {why}" if len(expectation.clauses) > 1 else why)
    word = FAILED if FAILED in words else OPEN if OPEN in words else HELD
    return Verdict(expectation, word, "; ".join(whys), tuple(values))


def _judge(clause: Clause, name: str, group: Group, groups: Mapping[str, Group]) -> tuple[str, str]:
    values = group.figures(name)
    missing = _missing(values, name, group.name)
    if missing:
        return OPEN, missing
    if not clause.of:
        found = mean_interval(values)
        return _word(clause, _less(found, clause.factor), f"mean {_interval(found)}", len(values))
    if clause.of == TRIVIAL:
        limits = [figure(run, f"first baseline/{split(name)[1].partition('/')[2]}") for run in group.runs]
        missing = _missing(limits, "the trivial predictor's", group.name)
    else:
        other = groups.get(clause.of)
        if other is None or not other.runs:
            return OPEN, f"there are no runs of {clause.of}"
        if of_loss(name) and any(
            setting.key.split(".")[0] == "loss" for setting in differences([group.first.config, other.first.config])
        ):
            return OPEN, f"{clause.of} has another loss, so its scale is another"
        limits = other.figures(name)
        missing = _missing(limits, name, clause.of)
    if missing:
        return OPEN, missing
    least = min(len(values), len(limits))
    seen = f"{statistics.fmean(values):.4g} beside {statistics.fmean(limits):.4g}"
    if is_ratio(name) and min([*values, *limits]) > 0:
        logs = [[math.log(value) for value in group_values] for group_values in (values, limits)]
        by = difference_interval(*logs)
        factor = Interval(*(math.exp(min(value, 700.0)) for value in (by.estimate, by.low, by.high)))
        if clause.factor > 0:
            found = _less(by, math.log(clause.factor))
            return _word(clause, found, f"{seen}, a factor of {_interval(factor)}", least)
    found = difference_interval(values, limits, factor=clause.factor)
    return _word(clause, found, f"{seen}; less the limit {_interval(found)}", least)


def _word(clause: Clause, found: Interval, seen: str, count: int) -> tuple[str, str]:
    """``found`` is how far the figure lies above the limit."""
    if count < 2:
        return OPEN, f"{seen}; one seed"
    right = found.high < 0 if clause.below else found.low > 0
    wrong = found.low >= 0 if clause.below else found.high <= 0
    return HELD if right else FAILED if wrong else OPEN, seen


def _missing(values: list[float], name: str, of: str) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) == len(values):
        return ""
    return f"{name} of {of} is there in {len(finite)} of {len(values)} runs"


def _less(found: Interval, limit: float) -> Interval:
    return Interval(found.estimate - limit, found.low - limit, found.high - limit)


def _interval(found: Interval) -> str:
    """An estimate with its interval.

    >>> _interval(Interval(1.0, 0.5, 1.5)), _interval(Interval(1.0, float("-inf"), float("inf")))
    ('1 (0.5 to 1.5)', '1')
    """
    if math.isinf(found.low):
        return f"{found.estimate:.4g}"
    return f"{found.estimate:.4g} ({found.low:.4g} to {found.high:.4g})"

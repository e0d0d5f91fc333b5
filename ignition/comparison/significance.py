"""Whether two groups of seeds differ by more than chance: for three to ten seeds a group.

Welch's t-test and its intervals (Welch, 1947), as Colas et al. advise (How many random seeds?, 2018): of pairs of three
seeds that do not differ it calls 3 % different, where an interval by percentile bootstrap calls 21 % (4000 draws of
normal numbers). Tests by rank cannot call anything: of three seeds beside three the smallest p of any permutation is
0.1, and Wilcoxon's signed ranks need six pairs to be below 0.05. The price is the assumption that a figure's values
over seeds are roughly normal; `permutation_p` stands beside it and assumes nothing.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import combinations

from scipy import special

LEVEL = 0.95  # of intervals; what is called a difference lies outside
POWER = 0.8  # with which the seeds that it would take are counted
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Interval:
    """An estimate, and where the true value lies with 95 % confidence."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One group beside another.

    Attributes:
        by: the mean of the one less that of the other; for ratios, the one's geometric mean over the other's.
        p: the chance of a difference at least so large where there is none (Welch); NaN where it cannot be told.
        p_permutation: the same by exact permutation, without assumptions; never below ``2 / C(n + m, n)``.
        effect: the difference in standard deviations (Hedges' g), with its interval.
        seeds: of each group, about how many it would take to call a difference of this size in four of five tries;
            None where that is more than 1000, or cannot be told.
    """

    by: Interval
    p: float
    p_permutation: float
    effect: Interval
    seeds: int | None


def mean_interval(values: list[float], *, level: float = LEVEL) -> Interval:
    """The mean of a few values and its interval (Student's t); without ends where there is one value.

    >>> found = mean_interval([1.0, 2.0, 3.0])
    >>> round(found.low, 3), round(found.high, 3)
    (-0.484, 4.484)
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = _t(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def difference_interval(
    ones: list[float], others: list[float], *, factor: float = 1.0, level: float = LEVEL
) -> Interval:
    """``mean(ones) - factor * mean(others)`` and its interval, by Welch's degrees of freedom.

    Without ends where one of the groups has one value.
    """
    estimate = statistics.fmean(ones) - factor * statistics.fmean(others)
    if len(ones) < 2 or len(others) < 2:
        return Interval(estimate, -math.inf, math.inf)
    error, freedom = _error(ones, [factor * value for value in others])
    half = _t(freedom, level) * error if error else 0.0
    return Interval(estimate, estimate - half, estimate + half)


def difference(ones: list[float], others: list[float], *, ratio: bool = False) -> Difference:
    """How ``ones`` lie beside ``others``; all finite.

    Args:
        ratio: compare by factors, in logarithms, where all values are above nought.

    >>> found = difference([1.0, 1.1, 0.9], [2.0, 2.1, 1.9])
    >>> round(found.p, 5), found.p_permutation, round(found.effect.estimate, 1)
    (0.00026, 0.1, -8.0)
    """
    ratio = ratio and min([*ones, *others]) > 0
    if ratio:
        ones, others = [math.log(value) for value in ones], [math.log(value) for value in others]
    by = difference_interval(ones, others)
    if ratio:
        by = Interval(*(_exp(value) for value in (by.estimate, by.low, by.high)))
    return Difference(by, welch_p(ones, others), permutation_p(ones, others), hedges_g(ones, others),
                      seeds_needed(ones, others))  # fmt: skip


def welch_p(ones: list[float], others: list[float]) -> float:
    """Two-sided p of Welch's t-test; NaN with fewer than two values in a group, or without any spread.

    >>> welch_p([1.0, 1.0], [2.0, 2.0])
    nan
    """
    if len(ones) < 2 or len(others) < 2:
        return math.nan
    error, freedom = _error(ones, others)
    if error == 0:
        return math.nan
    t = abs(statistics.fmean(ones) - statistics.fmean(others)) / error
    return float(2 * special.stdtr(freedom, -t))


def permutation_p(ones: list[float], others: list[float]) -> float:
    """Two-sided p of the exact permutation test of the difference of means; NaN for more than 20 values in all.

    >>> permutation_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    0.1
    """
    values = [*ones, *others]
    if not ones or not others or len(values) > 20:
        return math.nan
    total, seen = sum(values), abs(statistics.fmean(ones) - statistics.fmean(others))
    margin = 1e-12 * max(map(abs, values), default=0.0)  # of sums in another order
    as_far = [
        abs(sum(part) / len(ones) - (total - sum(part)) / len(others)) >= seen - margin
        for part in combinations(values, len(ones))
    ]
    return sum(as_far) / len(as_far)


def hedges_g(ones: list[float], others: list[float]) -> Interval:
    """The difference of means in pooled standard deviations, corrected for few values (Hedges, 1981), and its interval.

    The interval is the approximate one by the normal distribution; NaN where there is no spread or one value only.
    """
    n, m = len(ones), len(others)
    if n < 2 or m < 2:
        return Interval(math.nan, math.nan, math.nan)
    pooled = math.sqrt(((n - 1) * statistics.variance(ones) + (m - 1) * statistics.variance(others)) / (n + m - 2))
    if pooled == 0:
        return Interval(math.nan, math.nan, math.nan)
    g = (statistics.fmean(ones) - statistics.fmean(others)) / pooled * (1 - 3 / (4 * (n + m) - 9))
    half = float(special.ndtri((1 + LEVEL) / 2)) * math.sqrt((n + m) / (n * m) + g * g / (2 * (n + m)))
    return Interval(g, g - half, g + half)


def seeds_needed(ones: list[float], others: list[float], *, power: float = POWER) -> int | None:
    """Seeds a group with which Welch's test calls a difference of this size, with this spread, with chance ``power``.

    "About": difference and spread are themselves known from a few seeds only. None where that is more than 1000, or
    where there is one value or no spread.

    >>> seeds_needed([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    17
    """
    if len(ones) < 2 or len(others) < 2:
        return None
    by = abs(statistics.fmean(ones) - statistics.fmean(others))
    spread = statistics.variance(ones) + statistics.variance(others)
    if spread == 0 or by == 0:
        return None

    def enough(seeds: int) -> bool:
        freedom = 2 * (seeds - 1)
        chance = 1 - special.nctdtr(freedom, by / math.sqrt(spread / seeds), _t(freedom, LEVEL))
        return bool(chance >= power)

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS  # enough(high), and not enough(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def holm(ps: list[float]) -> list[float]:
    """p values held against all of them at once: the chance that any is below 0.05 by accident is 5 % (Holm, 1979).

    NaN stays, and counts for nothing.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, float("nan")])]
    [0.03, 0.06, 0.06, nan]
    """
    order = sorted((place for place, p in enumerate(ps) if not math.isnan(p)), key=lambda place: ps[place])
    adjusted, largest = list(ps), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


def _error(ones: list[float], others: list[float]) -> tuple[float, float]:
    """The standard error of the difference of means, and its degrees of freedom (Welch and Satterthwaite)."""
    one, other = statistics.variance(ones) / len(ones), statistics.variance(others) / len(others)
    if one + other == 0:
        return 0.0, math.inf
    freedom = (one + other) ** 2 / (one**2 / (len(ones) - 1) + other**2 / (len(others) - 1))
    return math.sqrt(one + other), freedom


def _t(freedom: float, level: float) -> float:
    """Half the width of an interval of this level, in standard errors."""
    return float(special.stdtrit(freedom, (1 + level) / 2))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf

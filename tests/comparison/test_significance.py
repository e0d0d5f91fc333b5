"""What a few seeds can tell."""

import math
import random

import pytest
from scipy import stats

from ignition.comparison.significance import difference, hedges_g, holm, mean_interval, seeds_needed, welch_p


def test_welch_and_its_interval_are_those_of_scipy():
    ones, others = [1.0, 1.4, 0.7, 1.1], [2.0, 3.5, 1.9]
    expected = stats.ttest_ind(ones, others, equal_var=False)
    found = difference(ones, others)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (found.by.low, found.by.high) == pytest.approx((low, high))
    assert mean_interval(others).low == pytest.approx(stats.t.interval(0.95, 2, 2.4666667, stats.sem(others))[0])


def test_ratios_are_compared_by_factors():
    found = difference([1.0, 2.0, 4.0], [10.0, 20.0, 40.0], ratio=True)
    assert found.by.estimate == pytest.approx(0.1)
    assert found.by.low < 0.1 < found.by.high
    assert difference([0.0, 2.0], [1.0, 2.0], ratio=True).by.estimate == pytest.approx(-0.5)  # nought has no logarithm


def test_nothing_is_said_of_one_seed_or_of_none_that_spread():
    assert math.isnan(welch_p([1.0], [2.0, 3.0]))
    assert math.isnan(difference([1.0, 1.0], [2.0, 2.0]).p)
    assert math.isnan(hedges_g([1.0], [2.0]).estimate)
    assert seeds_needed([1.0, 1.0], [2.0, 2.0]) is None
    assert mean_interval([1.0]).low == -math.inf


def test_three_seeds_are_never_called_by_ranks_and_the_permutations_say_so():
    assert difference([1.0, 1.1, 1.2], [9.0, 9.1, 9.2]).p_permutation == 0.1


def test_the_seeds_that_it_would_take_find_the_difference_four_times_of_five():
    draw = random.Random(0)
    exact = [-math.sqrt(1.5) / math.sqrt(1.5), 0.0, 1.0]  # a standard deviation of 1
    seeds = seeds_needed(exact, [value + 1 for value in exact])
    found = sum(
        welch_p([draw.gauss(0, 1) for _ in range(seeds)], [draw.gauss(1, 1) for _ in range(seeds)]) < 0.05
        for _ in range(1000)
    )
    assert seeds == 17
    assert 0.75 < found / 1000 < 0.87


def test_of_twenty_figures_that_are_chance_none_is_called_in_nineteen_of_twenty_draws():
    draw = random.Random(1)
    wrong = 0
    for _ in range(400):
        shared = [draw.gauss(0, 1) for _ in range(6)]  # figures of a run go together
        figures = [[value + draw.gauss(0, 1) for value in shared] for _ in range(20)]
        wrong += min(holm([welch_p(values[:3], values[3:]) for values in figures])) < 0.05
    assert wrong / 400 <= 0.05

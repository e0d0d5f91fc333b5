import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, theilslopes

from ignition.stability.trend import around_line, mann_kendall, theil_sen

SERIES = st.lists(st.floats(-100, 100), min_size=4, max_size=30)


@given(values=SERIES)
def test_the_slope_is_scipys(values):
    places = np.arange(len(values)) * 10
    assert theil_sen(places, values)[0] == pytest.approx(theilslopes(values, places)[0], abs=1e-9)


@given(values=st.lists(st.integers(-100, 100), min_size=4, max_size=30, unique=True))
def test_the_trend_has_the_sign_of_kendalls_tau(values):
    tau = kendalltau(range(len(values)), values).statistic
    pairs = len(values) * (len(values) - 1) / 2
    spread = math.sqrt(len(values) * (len(values) - 1) * (2 * len(values) + 5) / 18)
    score = round(tau * pairs)
    assert mann_kendall(values) == pytest.approx((score - np.sign(score)) / spread)


def test_one_value_far_off_hardly_turns_the_slope():
    assert theil_sen(range(7), [6.0, 5.0, 4.0, 99.0, 2.0, 1.0, 0.0])[0] == -1.0


def test_the_error_is_that_of_least_squares():
    # y = 0 with +-1: residuals 1, -1, -1, 1 around a slope of 0
    slope, error = theil_sen([0, 1, 2, 3], [1.0, -1.0, -1.0, 1.0])
    assert slope == 0.0
    assert error == pytest.approx(math.sqrt(4 / 2 / 5))


@given(values=SERIES, slope=st.floats(-10, 10))
def test_a_slope_adds_nothing_to_what_lies_around_the_line(values, slope):
    places = range(len(values))
    tilted = [value + slope * place for place, value in zip(places, values)]
    assert around_line(places, tilted) == pytest.approx(around_line(places, values), abs=1e-6)


def test_six_values_have_to_rise_for_a_trend_of_two_and_a_half():
    assert mann_kendall([1, 2, 3, 4, 5]) < 2.5 < mann_kendall([1, 2, 3, 4, 5, 6])

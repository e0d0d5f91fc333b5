import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import QuantileScale, RecentOutliers

VALUES = st.lists(st.integers(-1000, 1000).map(float), min_size=8, max_size=64)


def by_the_formula(values):
    median = np.median(values)
    mad = 1.4826 * np.median(np.abs(np.array(values) - median))
    return median, max(mad, (np.quantile(values, 0.98) - median) / 2.0537, 1e-4 * abs(median))


@given(VALUES, st.integers(4, 16))
def test_is_what_the_formula_says_of_the_values_before(values, window):
    scale = QuantileScale(window)
    for i, value in enumerate(values):
        reading, before = scale.read(i, value), values[max(0, i - window) : i]
        expected = by_the_formula(before) if 2 * len(before) >= window else (0.0, 0.0)
        if expected[1] > 0:
            assert reading == pytest.approx(expected)
        else:
            assert reading is None


@given(VALUES, st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-5000, 5000))
def test_moves_and_stretches_with_the_values(values, factor, shift):
    plain, changed = QuantileScale(8), QuantileScale(8)
    for i, value in enumerate(values):
        one, other = plain.read(i, value), changed.read(i, factor * value + shift)
        if (
            one is not None and one[1] > 1.0 and other is not None
        ):  # the floor is a share of the median, and stays behind
            assert other == pytest.approx((factor * one[0] + shift, factor * one[1]))


def test_values_that_are_not_finite_or_not_newer_are_as_if_they_had_not_been():
    plain, disturbed = QuantileScale(4), QuantileScale(4)
    for i, value in enumerate([1.0, 2.0, 4.0, 3.0, 5.0]):
        assert disturbed.read(i, math.nan) is None
        assert disturbed.read(i, math.inf) is None
        assert disturbed.read(i, value) == plain.read(i, value)
        assert disturbed.read(i, 99.0) is None
        assert disturbed.read(i - 1, 99.0) is None


def test_half_a_window_is_needed():
    scale = QuantileScale(8)
    assert [scale.read(i, float(i % 3)) is None for i in range(6)] == [True] * 4 + [False] * 2


def test_a_gap_as_long_as_the_window_spans_begins_it_anew():
    # the first 100 steps are logged each, from then on every 500th
    scale = QuantileScale(64)
    for i in range(100):
        scale.read(i, 10.0 + i % 3)
    assert scale.read(500, 2.0) is None
    readings = [scale.read(500 * i, 2.0 + i % 3) for i in range(2, 40)]
    assert readings[:31] == [None] * 31
    assert readings[31][0] == 3.0  # nothing is left of the tens


def test_rows_that_are_missing_now_and_then_do_no_harm():
    scale = QuantileScale(8)
    for i in (*range(8), 12, 17, 19):
        reading = scale.read(i, float(i % 4))
    assert reading is not None


def test_with_a_gap_the_latest_values_are_not_judged_by():
    scale = QuantileScale(4, gap=3)
    values = [1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0]
    medians = [reading and reading[0] for i, value in enumerate(values) if (reading := scale.read(i, value)) or True]
    # the 6th value is judged by the first two, the 8th by the first four
    assert medians == [None, None, None, None, None, 1.5, 2.0, 2.5]


def test_with_a_cap_outliers_enter_as_what_is_just_far():
    free, capped = QuantileScale(8), QuantileScale(8, cap=3.0)
    for i in range(8):
        free.read(i, float(i % 2))
        capped.read(i, float(i % 2))
    for i in (8, 9):
        free.read(i, 1000.0)
        capped.read(i, 1000.0)
    assert free.read(10, 0.0)[1] > 400
    assert capped.read(10, 0.0)[1] < 4


def test_no_spread_at_all_is_a_ten_thousandth_of_the_value_and_none_of_nought():
    scale = QuantileScale(4)
    for i in range(4):
        scale.read(i, 0.6931)
    assert scale.read(4, 0.6931) == (0.6931, pytest.approx(0.6931e-4))
    zeros = QuantileScale(4)
    assert [zeros.read(i, 0.0) for i in range(9)] == [None] * 9


def test_of_normal_noise_it_is_about_the_deviation_and_of_skewed_noise_the_tail_decides():
    random = np.random.default_rng(0)
    normal, skewed = random.normal(3.0, 0.5, 4000), random.exponential(0.5, 4000)
    readings = {}
    for name, values in (("normal", normal), ("skewed", skewed)):
        scale = QuantileScale(64)
        scales = [reading[1] for i, value in enumerate(values.tolist()) if (reading := scale.read(i, value))]
        readings[name] = statistics.mean(scales)
    assert readings["normal"] == pytest.approx(0.5, abs=0.06)
    assert readings["skewed"] > 1.4 * 1.4826 * np.median(np.abs(skewed - np.median(skewed)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"window": 3}, "window is 3"), ({"gap": -1}, "gap is -1"), ({"cap": 0.0}, "cap is 0.0")],
)
def test_says_what_it_cannot_do(settings, message):
    with pytest.raises(ValueError, match=message):
        QuantileScale(**settings)


def test_outliers_that_are_usual_are_no_news():
    outliers = RecentOutliers(6.0, most=16.0)
    # after four of 7 it takes more than 14; after four of 15 it takes more than 16, the most
    scores = (7, 7, 7, 7, 13, 15, 15, 15, 15, 16, 16.5)
    told = [outliers.is_news(score) for score in scores if not outliers.is_news(0.0)]
    assert told == [True] * 4 + [False] + [True] * 3 + [False] * 2 + [True]


def test_neighbours_count_as_one_outlier():
    outliers = RecentOutliers(6.0, most=16.0)
    for score in (7, 9, 8, 7, 7, 7):
        assert outliers.is_news(score)
    assert outliers.limit == 6.0
    assert len(outliers.state_dict()["far"]) == 1


def test_what_was_usual_is_forgotten_after_as_many_values_as_it_remembers():
    outliers = RecentOutliers(6.0, most=16.0, memory=100)
    for _ in range(4):
        outliers.is_news(7.0)
        outliers.is_news(1.0)
    assert outliers.limit == 14.0
    for _ in range(93):
        assert not outliers.is_news(1.0)
    assert outliers.limit == 14.0
    outliers.is_news(1.0)
    outliers.is_news(1.0)  # the first of the four is more than 100 values ago
    assert outliers.limit == 6.0


@given(st.lists(st.floats(0, 40), max_size=60), st.integers(0, 60))
def test_outliers_go_on_from_their_state(scores, cut):
    whole, first = RecentOutliers(6.0, most=16.0, memory=20), RecentOutliers(6.0, most=16.0, memory=20)
    expected = [whole.is_news(score) for score in scores]
    found = [first.is_news(score) for score in scores[:cut]]
    second = RecentOutliers(6.0, most=16.0, memory=20)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert found + [second.is_news(score) for score in scores[cut:]] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least": 6.0, "most": 5.0}, "least is 6.0 and most 5.0"),
        ({"least": 6.0, "most": 9.0, "memory": 0}, "memory is 0"),
    ],
)
def test_says_what_no_memory_of_outliers_can_be(settings, message):
    with pytest.raises(ValueError, match=message):
        RecentOutliers(**settings)

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.monitor.curves import Curve, Curves
from ignition.monitor.rows import columns


def added(curve, iterations, values):
    iterations = np.array(list(iterations), float)
    curve.add(iterations, iterations + 100.0, np.array(list(values), float))
    return curve


def test_few_values_are_kept_as_they_are():
    curve = added(Curve(), [1, 2, 5], [3.0, math.nan, 2.0])
    first, second, third = curve.points()
    assert (first.iteration, first.time, first.mean) == (1, 101.0, 3.0)
    assert (third.iteration, third.time, third.mean) == (5, 105.0, 2.0)
    assert math.isnan(second.mean)
    assert curve.last == (5, 2.0)


def test_a_million_values_take_as_much_memory_as_4096():
    curve = Curve()
    for begin in range(0, 1_000_000, 50_000):
        numbers = range(begin, begin + 50_000)
        added(curve, numbers, numbers)
    assert curve.width == 256
    assert len(curve) == 3907
    assert curve._table.nbytes == 4096 * 7 * 8
    points = curve.points(2000)
    assert len(points) == 1954
    assert points[0] == (511, 611.0, 255.5, 0.0, 511.0, 0)
    assert points[-1].high == 999_999
    assert curve.last == (999_999, 999_999.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12))
def test_however_values_come_the_points_are_the_same(sizes):
    total = sum(sizes)
    values = np.sin(np.arange(total))
    values[::7] = np.nan
    whole, parts = Curve(), Curve()
    whole.MOST = parts.MOST = 64
    added(whole, range(total), values)
    begin = 0
    for size in sizes:
        added(parts, range(begin, begin + size), values[begin : begin + size])
        begin += size
    assert [p[:2] for p in whole.points(64)] == [p[:2] for p in parts.points(64)]
    for mine, theirs in zip(whole.points(64), parts.points(64)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    counted = whole._table[3, : len(whole)].sum()
    assert counted == np.isfinite(values).sum()


def test_values_of_earlier_iterations_replace_what_was_there():
    curve = added(Curve(), [1, 2, 3, 4], [1, 2, 3, 4])
    added(curve, [3, 4, 5], [30, 40, 50])
    assert [point.mean for point in curve.points()] == [1, 2, 30, 40, 50]
    added(curve, [6, 7, 8, 2, 3], [6, 7, 8, 200, 300])  # within one block
    assert [(point.iteration, point.mean) for point in curve.points()] == [(1, 1), (2, 200), (3, 300)]
    added(curve, [3], [301])
    assert curve.last == (3, 301.0)
    assert len(curve) == 3


def test_a_sum_beyond_the_largest_number_has_a_mean():
    curve = Curve()
    curve.MOST = 2
    added(curve, range(4), [1.7e308] * 4)
    assert curve.points()[0].mean == 1.7e308


def row(iteration, **numbers):
    return {"iteration": iteration, **{name.replace("_", "/", 1): value for name, value in numbers.items()}}


def test_a_run_taken_up_from_before_tells_all_its_numbers_again():
    curves = Curves()
    rows = [row(i, train_loss=float(i)) for i in range(1, 7)] + [row(6, val_loss=6.0)]
    curves.add(columns(rows)[0])
    curves.add(columns([row(5, train_loss=50.0)])[0])  # from the checkpoint of iteration 4
    assert [point.mean for point in curves.points("train/loss")] == [1, 2, 3, 4, 50]
    assert curves.names() == ["train/loss"]
    assert curves.last_iteration == 5
    rows = [row(6, train_loss=1.0), row(6, val_loss=2.0), row(3, train_loss=7.0), row(3, val_loss=8.0)]
    curves.add(columns(rows)[0])
    assert [point.mean for point in curves.points("train/loss")] == [1, 2, 7]
    assert curves.last("val/loss") == (3, 8.0)


def test_where_names_count_apart_none_takes_back_another():
    curves = Curves()
    curves.add(columns([row(100, train_loss=1.0), row(1, val_loss=2.0), row(200, train_loss=3.0)])[0], attempts=False)
    assert [point.iteration for point in curves.points("train/loss")] == [100, 200]
    assert curves.last("val/loss") == (1, 2.0)


def test_the_best_is_the_lowest_or_the_highest_that_is_finite():
    curves = Curves()
    numbers = [5.0, 3.0, float("nan"), 4.0, float("inf")]
    curves.add(columns([row(i, val_a=value) for i, value in enumerate(numbers)])[0])
    assert curves.best("val/a", "min") == (1, 3.0)
    assert curves.best("val/a", "max") == (0, 5.0)
    assert curves.best("val/b", "min") is None


def test_names_without_end_are_counted_and_left_out():
    curves = Curves()
    curves.add(columns([{"iteration": 1, **{f"name {i}": 1.0 for i in range(700)}, "x" * 1000: 1.0}])[0])
    assert len(curves.names()) == 500
    assert curves.left_out == 201

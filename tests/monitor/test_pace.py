import numpy as np

from ignition.monitor.pace import Pace


def paced(*moments):
    pace = Pace()
    times, iterations = np.array(moments, float).T
    pace.add(times, iterations)
    return pace


def test_rows_written_many_at_once():
    rows = [(100 + 5 * flush + 0.001 * i, 10 * flush + i) for flush in range(4) for i in range(10)]
    pace = paced(*rows)
    assert pace.steps_per_second == 2.0
    assert pace.seconds_per_iteration == 0.5


def test_a_run_that_stood_still_for_a_night_is_as_fast_as_before():
    before = [(100 + i, 10 * i) for i in range(10)]
    after = [(100_000 + i, 100 + 10 * i) for i in range(10)]
    pace = paced(*before, *after)
    assert pace.steps_per_second == 10.0
    assert pace.seconds_per_iteration == 0.1
    assert pace.longest_gap == 1.0


def test_what_is_done_again_is_not_counted_twice():
    pace = paced(*[(100 + i, 10 * i) for i in range(10)])
    pace.add(np.array([200.0, 201.0, 202.0]), np.array([50.0, 60.0, 70.0]))
    assert [iteration for _, iteration in pace._moments] == [0, 10, 20, 30, 40, 50, 60, 70]


def test_a_clock_that_is_put_back_gives_no_negative_speed():
    pace = paced(*[(1000 + i, 10 * i) for i in range(10)])
    pace.add(np.array([500.0, 501.0, 502.0]), np.array([100.0, 120.0, 140.0]))
    assert pace.steps_per_second == 20.0


def test_nothing_is_known_of_one_row():
    pace = paced((100, 1))
    assert (pace.steps_per_second, pace.seconds_per_iteration, pace.longest_gap) == (None, None, 0.0)
    pace.add(np.array([np.nan]), np.array([2.0]))
    assert pace.newest == 100

import math

import pytest

from ignition.stability import DataWait, RunSettings


def found(detector, waits, computed=0.1, first=0):
    return [i for i, wait in enumerate(waits, first) if detector.update(i, wait, computed)]


def test_it_is_told_once_a_window_is_full():
    assert found(DataWait(), [0.05] * 200) == [63]
    assert found(DataWait(), [0.02] * 200) == []  # a sixth


def test_bursts_of_waiting_count_like_steady_waiting():
    # four loader processes: three batches are there, the fourth is waited for
    assert found(DataWait(), [0.0, 0.0, 0.0, 0.2] * 50) == [63]


def test_the_start_of_the_loader_does_not_count():
    assert found(DataWait(), [30.0] + [0.0] * 200) == []


def test_it_is_over_at_half_the_share():
    waits = DataWait()
    assert found(waits, [0.05] * 100) == [63]
    assert found(waits, [0.02] * 100, first=100) == []
    assert waits.active
    assert found(waits, [0.005] * 100, first=200) == []
    assert not waits.active
    assert found(waits, [0.05] * 100, first=300) != []


@pytest.mark.parametrize(
    ("workers", "waited", "override"),
    [
        (0, 0.25, "data.workers=3"),  # 0.25 s to load beside 0.1 s to compute
        (2, 0.1, "data.workers=4"),  # two make a batch each 0.2 s
        (4, 0.03, "data.workers=6"),
        (None, 0.1, ""),
    ],
)
def test_it_knows_how_many_loaders_would_keep_up(workers, waited, override):
    detector = DataWait(settings=RunSettings(workers=workers))
    finding = next(f for i in range(64) if (f := detector.update(i, waited, 0.1)))
    assert finding.advice[0].override == override


def test_nothing_to_compute_is_no_fault_of_the_arithmetic():
    finding = DataWait(window=2, settings=RunSettings(workers=1))
    assert finding.update(0, 1.0, 0.0) is None
    assert finding.update(1, 1.0, 0.0).advice[0].override == ""


def test_times_that_are_not_finite_or_come_twice_do_not_count():
    waits = DataWait()
    assert not any(waits.update(i, math.nan, 0.1) for i in range(99))
    assert not any(waits.update(0, 1.0, 0.1) for _ in range(99))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": 0.0}, "share is 0.0"), ({"share": 1.0}, "share is 1.0"), ({"window": 1}, "window is 1")],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        DataWait(**settings)

import math

import pytest

from ignition.stability.absolute import AbsoluteLimits


def found(detector, rows, first=0):
    return [(i, f.name) for i, (train, val) in enumerate(rows, first) for f in detector.update(i, train, val)]


def test_the_run_that_the_limits_were_written_for():
    # training 0.364 to 0.287 in 20 epochs, validation jumping between 0.43 and 0.536
    rows = [(0.364 - 0.00385 * i, 0.43 + 0.106 * (i % 2)) for i in range(20)]
    assert found(AbsoluteLimits(), rows)[:4] == [
        (1, "overfitting"),  # with the lower validation losses the gap is still less than 0.1
        (3, "overfitting"),
        (4, "unstable_validation"),
        (5, "overfitting"),
    ]
    assert {name for _, name in found(AbsoluteLimits(), rows)} == {
        "overfitting", "unstable_validation", "slow_convergence",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([(1.0, 1.09)] * 4, []),
        ([(1.0, 1.11)], [(0, "overfitting")]),
        ([(1.0 - 0.02 * i, 1.0 - 0.02 * i) for i in range(9)], []),  # 0.1 in 5 epochs
        ([(1.0 - 0.009 * i, 1.0) for i in range(9)], [(5, "slow_convergence")]),
        ([(1.0 - 0.02 * i, 0.9 + 0.12 * (i % 2)) for i in range(6)], [(4, "unstable_validation"), (5, "overfitting")]),
        ([(math.nan, 9.0), (1.0, math.inf)] * 5, []),
    ],
)
def test_each_limit(rows, names):
    assert found(AbsoluteLimits(), rows) == names


def test_the_limits_can_be_set():
    rows = [(1.0 - 0.009 * i, 1.2) for i in range(9)]
    assert found(AbsoluteLimits(gap=0.5, improvement=0.01), rows) == []
    assert found(AbsoluteLimits(gap=0.5, epochs=2), rows) == [(2, "slow_convergence")]


def test_told_once_until_it_does_not_hold():
    detector = AbsoluteLimits()
    assert found(detector, [(0.5, 0.7), (0.5, 0.7)]) == [(0, "overfitting")]
    assert detector.active
    assert found(detector, [(0.65, 0.7)], first=5) == []
    assert not detector.active
    assert found(detector, [(0.5, 0.7)], first=6) == [(6, "overfitting")]


def test_it_says_value_and_limit():
    (finding,) = AbsoluteLimits().update(7, 0.287, 0.43)
    assert finding.message == "the validation loss exceeds the training loss by 0.143 (absolute limit 0.1)"
    assert finding.evidence == {"value": pytest.approx(0.143), "limit": 0.1, "preset": "absolute"}


@pytest.mark.parametrize("name", ["deviation", "gap", "improvement"])
def test_says_what_it_cannot_be(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        AbsoluteLimits(**{name: 0})
    with pytest.raises(ValueError, match="epochs is 1"):
        AbsoluteLimits(epochs=1)

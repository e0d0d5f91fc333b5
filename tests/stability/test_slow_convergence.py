import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import RunSettings
from ignition.stability.slow_convergence import SlowConvergence

SLOW = [0.364 - 0.00385 * i for i in range(21)]  # 0.364 to 0.287 in 20 epochs


def found(detector, values, first=0, **context):
    return [i for i, value in enumerate(values, first) if detector.update(100 * i, value, **context)]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (SLOW, [9]),
        ([math.exp(-i / 5) for i in range(40)], []),  # most is gained soon
        ([0.6 + 0.4 * math.exp(-i / 4) for i in range(40)], []),  # little is, but the curve bends: that is all there is
        ([0.6 + 0.4 * math.exp(-i / 20) for i in range(40)], [9]),  # and here it does not
        ([1.0] * 40, []),  # that is a plateau
        ([1.0 + 0.01 * i for i in range(40)], []),
        ([1.0 - 0.004 * i + 0.05 * (i % 2) for i in range(40)], []),  # it may fall, but nobody can tell
        ([9.0, *SLOW], []),  # the first batch's loss was far above: all that is behind it
        ([math.nan, math.inf, *SLOW], [11]),
    ],
)
def test_far_to_go_and_no_bend(values, places):
    assert found(SlowConvergence(), values) == places


def test_it_says_when_half_is_gone():
    detector = SlowConvergence(settings=RunSettings(learning_rate=1e-4), weight_decay=1e-2)
    finding = [detector.update(100 * i, value) for i, value in enumerate(SLOW)][9]
    # 0.364 / 2 = 0.182 takes 0.182 / 0.00385 = 47.3 epochs
    assert finding.message.endswith("falls on as slowly: half is gone at iteration 4728")
    assert finding.evidence["pace"] == pytest.approx(1.0)
    assert finding.evidence["gained"] == pytest.approx(9 * 0.00385 / 0.364)
    assert (finding.first, finding.last, finding.severity) == (0, 900, "info")
    assert [advice.override for advice in finding.advice] == ["optimizer.lr=2e-4", "optimizer.weight_decay=0.001", ""]


def test_iterations_count_and_not_evaluations():
    # every 100 iterations first, then every 1000: the line is the same
    places = [100 * i for i in range(8)] + [700 + 1000 * i for i in range(1, 5)]
    detector = SlowConvergence()
    findings = [detector.update(place, 1.0 - 1e-5 * place) for place in places]
    assert [i for i, finding in enumerate(findings) if finding] == [9]


def test_nothing_while_the_rate_is_low():
    assert found(SlowConvergence(), SLOW, rate_share=0.49) == []
    assert found(SlowConvergence(), SLOW, rate_share=0.5) == [9]


def test_over_once_enough_is_gained():
    detector = SlowConvergence()
    assert found(detector, SLOW) == [9]
    assert detector.active
    assert found(detector, [0.18], first=30) == []
    assert not detector.active


def test_over_once_it_bends():
    detector = SlowConvergence()
    assert found(detector, SLOW) == [9]
    assert found(detector, [0.287] * 5, first=30) == []
    assert not detector.active


@given(values=st.lists(st.floats(0.1, 10), min_size=12, max_size=40), power=st.integers(-20, 20))
def test_the_unit_of_the_loss_does_not_matter(values, power):
    scaled = [2.0**power * value for value in values]
    assert found(SlowConvergence(5), values) == found(SlowConvergence(5), scaled)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"least": 4}, "least is 4"), ({"gained": 0}, "gained is 0"), ({"gained": 2}, "gained is 2")],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        SlowConvergence(**settings)

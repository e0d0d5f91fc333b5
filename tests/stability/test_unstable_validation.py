import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import RunSettings
from ignition.stability.unstable_validation import UnstableValidation

JUMPS = [0.9, 0.5, 0.43, 0.57, 0.44, 0.58]


def found(detector, values, first=0):
    return [i for i, value in enumerate(values, first) if detector.update(i, value)]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (JUMPS, [5]),
        ([0.7 + 0.5**i for i in range(12)], []),  # a steep fall is not unstable
        ([0.1, 0.2, 0.5, 1.0, 2.0, 4.0], []),  # nor a steep rise: that is something else
        ([9.0, 1.0, 0.9, 0.95, 0.93, 0.94], []),  # small beside what was gained
        ([9.0, 1.0, 0.9, 5.0, 0.9, 0.8, 0.8], []),  # a single jump
        ([9.0, 1.0, 5.0, 0.9, 4.0, 0.8, 0.8], [4]),  # two
        ([1.0, 1.001, 0.999, 1.001, 0.999, 1.001], []),  # a thousandth does not matter, whatever was gained
        ([1.0, 1.1, 0.9, 1.1, 0.9, 1.1], [4]),
        ([9.0, 1.0, math.nan, 5.0, math.inf, 0.9, 4.0, 0.8], [6]),  # what is not finite does not count
        (JUMPS[:4], []),
    ],
)
def test_up_and_down_beside_what_was_gained(values, places):
    assert found(UnstableValidation(), values) == places


def test_more_may_be_better():
    accuracy = [1 - value for value in JUMPS]
    finding = [
        UnstableValidation.update(detector, i, value)
        for detector in [UnstableValidation(mode="max", subject="val/accuracy")]
        for i, value in enumerate(accuracy)
    ][5]
    assert finding.subject == "val/accuracy"
    assert finding.message == "val/accuracy scatters by 0.058 in 5 evaluations, 12.3 % of what it has gained so far"
    assert finding.evidence["values"] == pytest.approx(accuracy[1:])


def test_it_advises_what_calms():
    detector = UnstableValidation(settings=RunSettings(learning_rate=1e-4, batch_size=8, max_norm=0.0))
    finding = [detector.update(i, value) for i, value in enumerate(JUMPS)][5]
    assert [advice.override for advice in finding.advice] == [
        "optimizer.lr=5e-5",
        "data.batch_size=16",
        "clip.kind=norm clip.max_norm=1.0",
        "ema.decay=0.999",
        "",
    ]
    assert (finding.first, finding.last, finding.severity) == (1, 5, "warning")


def test_a_little_calmer_is_not_over():
    # jumps of 0.08 are below what it takes, and above half of it
    assert found(UnstableValidation(), [*JUMPS, *[0.45, 0.53] * 3, *[0.43, 0.58] * 3]) == [5]


def test_told_once_until_it_is_calm():
    detector = UnstableValidation()
    assert found(detector, [*JUMPS, 0.43, 0.58, 0.43]) == [5]
    assert detector.active
    assert found(detector, [0.43, 0.42, 0.42, 0.41], first=20) == []
    assert not detector.active
    assert found(detector, [0.6, 0.4, 0.6, 0.4], first=30) == [32]


@given(values=st.lists(st.floats(0, 10), min_size=6, max_size=30), power=st.integers(-20, 20))
def test_the_unit_of_the_loss_does_not_matter(values, power):
    scaled = [2.0**power * value for value in values]
    assert found(UnstableValidation(), values) == found(UnstableValidation(), scaled)


@given(values=st.lists(st.integers(0, 1000), min_size=6, max_size=30), shift=st.integers(-1000, 1000))
def test_nor_does_a_constant_where_no_least_scatter_is_asked_for(values, shift):
    shifted = [value + shift for value in values]
    assert found(UnstableValidation(least=0), values) == found(UnstableValidation(least=0), shifted)


@given(values=st.lists(st.floats(0, 10), min_size=6, max_size=30))
def test_what_only_falls_or_only_rises_is_never_unstable(values):
    assert found(UnstableValidation(), sorted(values)) == []
    assert found(UnstableValidation(), sorted(values, reverse=True)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0}, "share is 0"),
        ({"window": 3}, "window is 3"),
        ({"least": -1}, "least is -1"),
        ({"mode": "down"}, "mode is 'down'"),
    ],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        UnstableValidation(**settings)

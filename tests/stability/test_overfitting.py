import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import RunSettings
from ignition.stability.overfitting import Overfitting

FALLING = [3.0 - 0.1 * i for i in range(30)]
RISING = [1.0, 0.8, 0.7, 0.71, 0.72, 0.74, 0.75, 0.77, 0.80]  # best at 2; above it by 3 % from 5 on


def found(detector, validation, training=FALLING, targets=None):
    """The evaluations at which something is found."""
    places = []
    for i, (value, train) in enumerate(zip(validation, training)):
        target = () if targets is None else (targets[i],)
        if detector.update(100 * i, train, value, *target):
            places.append(i)
    return places


@pytest.mark.parametrize(
    ("validation", "training", "places"),
    [
        (RISING, FALLING, [7]),  # the third above 3 %
        (RISING, FALLING[::-1], []),  # both rise: that is no overfitting
        (RISING[:7], FALLING, []),  # two above
        ([1.0, 0.7, 0.73, 0.74, 0.75], FALLING, []),  # three in a row, but so few are no trend
        ([1.0, 0.7, 0.73, 0.74, 0.75, 0.76, 0.77], FALLING, [6]),  # five after the best one
        ([1.0, 0.7, 0.76, 0.74, 0.77, 0.73, 0.75, 0.76, 0.74, 0.75, 0.74], FALLING, []),  # a lucky best, and no trend
        ([1.0, 0.8, 0.7, 0.71, 0.72, 0.74, 0.75, 0.71, 0.74, 0.75], FALLING, []),  # never three in a row
        ([1.0] * 10, FALLING, []),
        ([0.7, 0.72, 0.74, math.nan, math.inf, 0.76, 0.78, 0.8], FALLING, [7]),  # what is not finite does not count
        (RISING, [math.nan] * 30, []),
    ],
)
def test_three_in_a_row_with_a_trend(validation, training, places):
    assert found(Overfitting(), validation, training) == places


def test_it_says_what_rose_and_what_fell():
    detector = Overfitting(settings=RunSettings(learning_rate=1e-4), weight_decay=1e-5)
    finding = [detector.update(100 * i, FALLING[i], value) for i, value in enumerate(RISING)][7]
    assert (finding.name, finding.severity, finding.first, finding.last) == ("overfitting", "warning", 200, 700)
    assert finding.message == (
        "validation loss 0.77 is 10 % above its best of 0.7 at iteration 200; the training loss fell from 2.8 to 2.3"
    )
    assert finding.evidence["percent"] == pytest.approx(10.0)
    assert [advice.override for advice in finding.advice] == [
        "early_stop.metric=val/loss early_stop.mode=min early_stop.patience=10 early_stop.restore_best=true",
        "optimizer.weight_decay=5e-5",
        "optimizer.lr=5e-5",
        "",
    ]


@pytest.mark.parametrize(("decay", "override"), [(0.0, "optimizer.weight_decay=1e-4"), (None, "")])
def test_decay_is_advised_as_far_as_it_is_known(decay, override):
    detector = Overfitting(weight_decay=decay)
    finding = next(f for i, v in enumerate(RISING) if (f := detector.update(i, FALLING[i], v)))
    assert finding.advice[1].override == override


def test_a_target_that_gets_better_speaks_against_it():
    rising_loss = [1.0, 0.7, *(0.73 + 0.01 * i for i in range(10))]
    better = [0.5 + 0.01 * i for i in range(12)]
    assert found(Overfitting(target_mode="max"), rising_loss, targets=better) == []
    assert found(Overfitting(target_mode="min"), rising_loss, targets=[1 - x for x in better]) == []
    stands = [0.5, 0.6] + [0.58] * 10
    assert found(Overfitting(target_mode="max"), rising_loss, targets=stands) == [6]
    unknown = [math.nan] * 12
    assert found(Overfitting(target_mode="max"), rising_loss, targets=unknown) == [6]


def test_a_target_needs_a_direction():
    with pytest.raises(ValueError, match="target_mode has to say"):
        Overfitting().update(0, 1.0, 1.0, 0.5)


def test_told_once_until_it_has_ended():
    # 0.71 is less than 1.5 % above the best: over. Then it begins again.
    again = [*RISING, 0.85, 0.9, 0.71, 0.80, 0.82, 0.85, 0.9]
    detector = Overfitting()
    assert found(detector, again) == [7, 14]
    assert detector.active
    detector.update(9000, 0.1, 0.5)  # a new best
    assert not detector.active


def test_a_best_of_nought_and_losses_below_it():
    assert found(Overfitting(), [0.5, 0.0, *[0.1 * i for i in range(1, 7)]]) == [6]
    assert found(Overfitting(), [0.5] + [0.0] * 9) == []
    assert found(Overfitting(), [-1.0, -2.0, -1.9, -1.8, -1.7, -1.6, -1.5]) == [6]


def test_old_iterations_are_passed_over():
    detector = Overfitting()
    for i, value in enumerate(RISING[:6]):
        detector.update(i, FALLING[i], value)
    assert not any(detector.update(5, 0.0, 9.0) for _ in range(9))


@given(
    values=st.lists(st.floats(0.1, 10), min_size=10, max_size=40),
    power=st.integers(-20, 20),
)
def test_the_unit_of_the_loss_does_not_matter(values, power):
    training = [50.0 - i for i in range(40)]
    scale = 2.0**power  # exact, so that nothing is rounded the other way
    scaled = found(Overfitting(), [scale * v for v in values], [scale * t for t in training])
    assert found(Overfitting(), values, training) == scaled


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"alpha": 0}, "alpha is 0"), ({"target_mode": "up"}, "target_mode is 'up'")],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Overfitting(**settings)

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import RunSettings
from ignition.stability.plateau import Plateau


def found(detector, values, first=0, **context):
    return [i for i, value in enumerate(values, first) if detector.update(100 * i, value, **context)]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1.0, 0.5] + [0.5] * 20, [11]),  # the tenth after the best
        ([1.0 - 0.01 * i for i in range(30)], []),
        ([1.0 - 0.0001 * i for i in range(9)], []),
        ([0.5] + [0.6 - 0.005 * i for i in range(19)], []),  # worse than a lucky best, but on its way
        ([0.5] + [0.6 - 0.005 * i for i in range(10)] + [0.55] * 9, [18]),  # and now no longer
        ([1.0, 0.5, *[0.5, math.nan] * 20], [20]),  # what is not finite is no evaluation
        ([0.5] + [0.4999] * 9 + [0.4] + [0.41] * 9, []),
    ],
)
def test_stands_and_does_not_go_down(values, places):
    assert found(Plateau(), values) == places


def test_an_improvement_has_to_be_large_enough_and_ends_it():
    detector = Plateau(patience=5)
    assert found(detector, [1.0] + [0.9999] * 9) == [5]
    assert detector.active
    detector.update(5000, 0.99)
    assert not detector.active
    assert found(detector, [0.99] * 9, first=60) == [64]


def test_the_end_of_a_schedule_is_no_plateau():
    assert found(Plateau(), [0.5] * 30, rate_share=0.04) == []
    assert found(Plateau(), [0.5] * 30, rate_share=0.05) == [10]


def test_more_may_be_better():
    detector = Plateau(mode="max", metric="val/accuracy", settings=RunSettings(learning_rate=1e-4))
    finding = next(f for i in range(20) if (f := detector.update(i, 0.8)))
    assert finding.message == "val/accuracy has stood at 0.8 since iteration 0, for 10 evaluations"
    assert (finding.severity, finding.subject) == ("info", "val/accuracy")
    assert [advice.override for advice in finding.advice] == [
        "schedule.name=plateau schedule.metric=val/accuracy schedule.mode=max schedule.factor=0.5 schedule.patience=5",
        "optimizer.lr=5e-5",
        "early_stop.metric=val/accuracy early_stop.mode=max early_stop.patience=15",
    ]
    assert found(Plateau(mode="max"), [0.01 * i for i in range(30)]) == []


def test_a_training_loss_that_falls_on_changes_the_advice():
    # 16.0 at best, then 16 to 17, while the training loss fell from 12 to 10.4
    detector = Plateau()
    values = [20.0, 16.0] + [16.5] * 10
    findings = [detector.update(i, value, training=12.0 - 0.15 * i) for i, value in enumerate(values)]
    assert findings[-1].message == (
        "val/loss has stood at 16 since iteration 1, for 10 evaluations, "
        "while the training loss fell from 11.85 to 10.35"
    )
    assert "by heart" in findings[-1].advice[0].why
    stands = Plateau()
    finding = [stands.update(i, value, training=12.0) for i, value in enumerate(values)][-1]
    assert "by heart" not in finding.advice[0].why
    unknown = Plateau()
    assert [unknown.update(i, value, training=math.nan) for i, value in enumerate(values)][-1].evidence == {
        "best": 16.0,
        "waited": 10,
        "slope": 0.0,
    }


@given(values=st.lists(st.floats(0.1, 10), min_size=12, max_size=40), power=st.integers(-20, 20))
def test_the_unit_of_the_loss_does_not_matter(values, power):
    scaled = [2.0**power * value for value in values]
    assert found(Plateau(patience=4), values) == found(Plateau(patience=4), scaled)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 2}, "patience is 2"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"mode": "best"}, "mode is 'best'"),
    ],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Plateau(**settings)

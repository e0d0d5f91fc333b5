import pytest

from ignition.stability import RunSettings
from ignition.stability.dead_units import DeadUnits, UntouchedParameters


def test_twice_in_a_row_and_the_worst_is_named():
    detector = DeadUnits(settings=RunSettings(learning_rate=1e-2))
    rows = [{"a": (60, 64), "b": (1, 64)}, {"a": (1, 64), "b": (40, 64)}, {"a": (40, 64), "b": (64, 64)}]
    findings = [detector.update(i, row) for i, row in enumerate(rows)]
    assert findings[:2] == [None, None]
    assert findings[2].message == "64 of 64 units of b never fire"
    assert findings[2].evidence == {"share": 1.0, "layers": ["b"], "layers_in_all": 1}
    assert findings[2].advice[0].override == "optimizer.lr=0.002"


def test_several_layers_are_one_finding():
    detector = DeadUnits()
    units = {"a": (40, 64), "b": (64, 64), "c": (50, 64), "empty": (0, 0)}
    detector.update(1, units)
    assert detector.update(2, units).message == "64 of 64 units of b never fire; 2 more such layers"


def test_some_dead_units_are_usual():
    detector = DeadUnits()
    assert not any(detector.update(i, {"a": (32, 64)}) for i in range(9))


def test_told_once_until_less_than_half_of_that_are_dead():
    detector = DeadUnits()
    assert [bool(detector.update(i, {"a": (40, 64)})) for i in range(4)] == [False, True, False, False]
    detector.update(10, {"a": (20, 64)})
    assert detector.active
    detector.update(11, {"a": (16, 64)})
    assert not detector.active


def test_parameters_that_no_gradient_reaches():
    detector = UntouchedParameters()
    touched = {"stem.weight": 49, "head.weight": 0, "head.bias": 0}
    assert detector.update(49, touched, 49) is None
    finding = detector.update(50, touched, 50)
    assert finding.message == "no gradient has reached head.weight and 1 more in 50 steps"
    assert finding.name == "untouched_parameters"
    assert finding.evidence == {"parameters": ["head.weight", "head.bias"], "parameters_in_all": 2, "steps": 50}
    assert detector.update(60, touched, 60) is None
    assert detector.active
    assert detector.update(70, {"stem.weight": 69, "head.weight": 1, "head.bias": 1}, 70) is None
    assert not detector.active


def test_one_gradient_is_enough():
    assert UntouchedParameters().update(500, {"rare": 1, "often": 400}, 500) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeadUnits(0.0), "share is 0.0"),
        (lambda: DeadUnits(1.0), "share"),
        (lambda: UntouchedParameters(0), "steps"),
    ],
)
def test_says_what_it_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()

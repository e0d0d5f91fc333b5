import pytest
from pydantic import TypeAdapter

from ignition.config import Cycles, Fixed, Ramp, Switch, ValueSchedule, load_config


def schedule(value):
    return TypeAdapter(ValueSchedule).validate_python(value)


def test_a_number_is_constant():
    assert schedule(0.5) == Fixed(0.5)
    assert schedule(2).value(7.0) == 2.0
    assert schedule(2).constant


@pytest.mark.parametrize(
    ("shape", "quarter"),
    [("linear", 0.25), ("cosine", 0.14644660940672627)],  # (1 - cos(pi/4)) / 2
)
def test_a_ramp_moves_between_its_epochs_and_holds_outside(shape, quarter):
    ramp = schedule({"from": 0.0, "to": 1.0, "epochs": 40, "start": 10, "shape": shape})
    assert [ramp.value(epoch) for epoch in (-1, 0, 10)] == [0.0, 0.0, 0.0]
    assert ramp.value(20) == pytest.approx(quarter)
    assert ramp.value(30) == pytest.approx(0.5)
    assert [ramp.value(epoch) for epoch in (50, 1e9)] == [1.0, 1.0]
    assert not ramp.constant


def test_a_ramp_ends_exactly_where_it_says():
    ramp = schedule({"from": 0.1, "to": 0.7, "epochs": 3})
    assert (ramp.value(0), ramp.value(3)) == (0.1, 0.7)


def test_a_ramp_without_a_difference_is_constant():
    assert schedule({"from": 1, "to": 1, "epochs": 3}).constant


def test_cycles_rise_again_and_again_and_stay_in_the_end():
    cycles = schedule({"from": 0.2, "to": 1.0, "cycles": 3, "epochs": 8, "rise": 0.25})
    assert isinstance(cycles, Cycles)
    assert [cycles.value(epoch) for epoch in (-1, 0, 1, 2, 7.9)] == pytest.approx([0.2, 0.2, 0.6, 1.0, 1.0])
    assert [cycles.value(epoch) for epoch in (8, 9, 10, 16, 17)] == pytest.approx([0.2, 0.6, 1.0, 0.2, 0.6])
    assert [cycles.value(epoch) for epoch in (24, 25, 1e9)] == [1.0, 1.0, 1.0]
    assert not cycles.constant
    assert schedule({"from": 1, "to": 1, "cycles": 3, "epochs": 8}).constant


def test_a_switch_jumps_at_its_epochs():
    switch = schedule({"at": {"50": 0.0, "0": 1.0, "9.5": 3}})  # the order of the keys does not matter
    assert [switch.value(epoch) for epoch in (-1, 0, 9.4, 9.5, 49.99, 50, 1000)] == [1, 1, 1, 3, 3, 0, 0]
    assert not switch.constant
    assert Switch(at={"0": 2.0, "5": 2.0}).constant


def test_value_is_pure():
    ramp = Ramp.model_validate({"from": 0.0, "to": 1.0, "epochs": 10})
    assert [ramp.value(epoch) for epoch in (7, 3, 7)] == pytest.approx([0.7, 0.3, 0.7])


def test_every_weight_of_a_config_has_a_value():
    config = load_config(
        None,
        overrides=[
            "loss.l1=1", "loss.kl={from: 0, to: 2, epochs: 4}", "loss.w={at: {0: 1, 5: 0}}",
            "loss.c={from: 0, to: 2, cycles: 2, epochs: 8}",
        ],
    )  # fmt: skip
    assert {name: weight.value(2.0) for name, weight in config.loss.items()} == {"l1": 1, "kl": 1, "w": 1, "c": 1}
    constant = {name: weight.constant for name, weight in config.loss.items()}
    assert constant == {"l1": True, "kl": False, "w": False, "c": False}

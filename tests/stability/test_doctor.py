"""Rows of a run in, findings out."""

import json
import math

import pytest

from ignition.stability import NAMES, Doctor, Finding, RunSettings

NAN = math.nan


def calm(until, start=1, **more):
    return [
        {"iteration": i, "epoch": 1, "train/batch_loss": 2.0 + 0.1 * (i % 7), "train/gradient_norm": 1.0, **more}
        for i in range(start, until + 1)
    ]


def names(doctor, rows):
    return [(finding.name, finding.last) for row in rows for finding in doctor.read(row)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"train/batch_loss": 60.0}, "loss_spike"),
        ({"train/batch_loss": NAN}, "non_finite"),
        ({"train/batch_loss": "NaN"}, "non_finite"),  # as a file has it
        ({"train/batch_loss": 2.0, "train/loss/kl": math.inf}, "non_finite"),
        ({"train/batch_loss": 2.0, "train/gradient_norm": 200.0}, "gradient_explosion"),
    ],
)
def test_one_odd_row_after_a_hundred_calm_ones(row, expected):
    assert names(Doctor(), [*calm(100), {"iteration": 101, **row}]) == [(expected, 101)]


def test_a_loss_that_doubles_and_stays_is_found_soon():
    rows = [*calm(100), *({"iteration": i, "train/batch_loss": 4.6} for i in range(101, 161))]
    found = dict(names(Doctor(), rows))
    assert found["slow_divergence"] <= 130


def test_what_has_ended_is_told():
    rows = [*calm(100), {"iteration": 101, "train/batch_loss": NAN}, *calm(105, start=102)]
    assert names(Doctor(), rows) == [("non_finite", 101), ("recovered", 102)]


def test_the_term_and_the_samples_are_named():
    doctor = Doctor(samples=lambda iteration: [iteration, 7])
    (finding,) = doctor.read({"iteration": 3, "train/batch_loss": NAN, "train/loss/kl": NAN, "train/loss/xy": 0.5})
    assert finding.subject == "kl"
    assert finding.evidence["samples"] == [3, 7]


def test_overflow_in_half_precision_is_how_the_scale_is_found():
    row = {"iteration": 5, "train/batch_loss": 1.0, "train/gradient_norm": math.inf}
    assert names(Doctor(RunSettings(half_precision=True)), [row]) == []
    assert names(Doctor(), [row]) == [("non_finite", 5)]


def test_rows_of_other_kinds_and_repeated_ones_do_no_harm():
    rows = [*calm(100), {"iteration": 100, "epoch": 1, "val/loss": 3.0}, {"time": 1.0}, *calm(100)]
    assert names(Doctor(), rows) == []


@pytest.mark.parametrize("cut", [1, 64, 101, 102])
def test_a_state_in_the_middle_goes_through_json_and_finds_the_same(cut):
    rows = [*calm(100), {"iteration": 101, "train/batch_loss": 60.0}, *calm(103, start=102)]
    straight = names(Doctor(), rows)
    first, second = Doctor(), Doctor()
    before = names(first, rows[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + names(second, rows[cut:]) == straight


def test_a_known_change_makes_other_values_usual():
    doctor = Doctor()
    names(doctor, calm(100))
    doctor.reset(["loss_spike", "slow_divergence"])
    assert names(doctor, [{"iteration": 101, "train/batch_loss": 60.0}]) == []


def test_a_finding_and_its_row_are_the_same():
    (finding,) = Doctor().read({"iteration": 3, "train/batch_loss": NAN})
    assert Finding.of(json.loads(json.dumps({**finding.row(), "done": "nothing"}))).row() == finding.row()
    assert set(Doctor().detectors) | {"recovered"} <= set(NAMES)


def epochs(training, validation, **more):
    for epoch, (train, val) in enumerate(zip(training, validation, strict=True), start=1):
        yield {"iteration": 10 * epoch, "epoch": epoch, "train/learning_rate": 0.1, "train/epoch_avg_loss": train}
        yield {"iteration": 10 * epoch, "epoch": epoch, "val/loss": val, **more}


def test_a_validation_loss_that_rises_while_training_falls_is_overfitting():
    training = [2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13]
    validation = [2.0, 1.2, 1.0, 0.9, 0.95, 1.0, 1.1, 1.2, 1.3, 1.4]
    assert "overfitting" in dict(names(Doctor(), epochs(training, validation)))
    better = Doctor(metric="val/ap", mode="max")  # what matters most still rises
    rows = [
        {**row, **({"val/ap": 0.1 * row["epoch"]} if "val/loss" in row else {})} for row in epochs(training, validation)
    ]
    assert "overfitting" not in dict(names(better, rows))


def test_a_run_that_learns_well_has_no_finding():
    losses = [2.0 * 0.8**epoch + 0.1 for epoch in range(20)]
    assert names(Doctor(), epochs(losses, [1.05 * loss for loss in losses])) == []


def test_the_untrained_loss_is_where_slow_convergence_begins():
    """Epoch means alone look like a run that is nearly done: the untrained loss says that it began at 2."""
    means = [1.02 - 0.004 * epoch for epoch in range(12)]
    rows = list(epochs(means, means))
    began = [{"iteration": 1, "epoch": 1, "train/learning_rate": 0.1, "train/batch_loss": 2.2}]
    assert "slow_convergence" not in dict(names(Doctor(), began + rows))
    assert Doctor().state_dict()["rows"]["evaluations"]["began"] is False

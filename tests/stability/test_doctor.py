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

"""Rows of a run in, findings out."""

import json
import math

import pytest

from ignition.stability import NAMES, Doctor, Finding, KnownChanges, RunSettings

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


# ----------------------------------------------------------------------------------- measurements within the network


def measured(count, **row):
    return [{"iteration": 50 * n, "epoch": 1, **row} for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # a step changes the head by three tenths; the bias was not copied, and the stem's step not measured
        (measured(6, layers={"head": {"weight": 2.0, "update": 0.6}, "head.bias": {"weight": 1.0}, "stem": {}}),
         [("update_ratio", 250)]),
        (measured(6, layers={"head": {"weight": 0.0, "update": 0.6}}), []),  # begins at nought: no ratio
        (measured(6, layers={"head": {"weight": "NaN", "update": 0.6}}), []),
        (measured(3, layers={}, untouched=["head.bias"]), [("untouched_parameters", 50)]),
        ([{"iteration": 49, "untouched": ["head.bias"]}], []),  # it may come yet
        (measured(3, layers={}, untouched=[]), []),
        (measured(3, units={"stem": [3, 32], "middle": [60, 64]}), [("dead_units", 100)]),
        (measured(6, terms={"norms": {"a": 2.0, "b": 0.002}}), [("loss_imbalance", 250), ("loss_imbalance", 250)]),
        (measured(6, terms={"norms": {"a": 2.0, "b": 0.002}, "weights": {"a": 1.0, "b": 0.0}}), []),  # b is off
        (measured(6, terms={"norms": {"a": 2.0, "b": 0.002, "c": "Infinity"}}), []),  # shares of what?
        (measured(6, terms={"norms": {"a": 2.0, "b": 1.0}, "cosines": {"a|b": -0.6}}), [("loss_conflict", 250)]),
        (measured(6, terms={"cosines": {"a|b": -0.6}, "weights": {"a": 1.0, "b": 0.0}}), []),
    ],
)  # fmt: skip
def test_what_was_measured_within_the_network(rows, expected):
    assert names(Doctor(), rows) == expected
    assert names(Doctor(), [row for row in rows for _ in (1, 2)]) == expected  # repeated
    assert names(Doctor(), [*calm(400), *rows]) == expected  # late, in one batch


def test_a_term_that_drowns_gets_ten_times_its_weight():
    rows = measured(5, terms={"norms": {"a": 2.0, "b": 0.002}, "weights": {"a": 1.0, "b": 0.1}})
    advised = {
        (settings.weighted, finding.subject): finding.advice[0].override
        for settings in (RunSettings(), RunSettings(weighted=False))
        for finding in [finding for doctor in [Doctor(settings)] for row in rows for finding in doctor.read(row)]
    }
    assert advised == {
        (True, "a"): "loss.a=0.1",
        (True, "b"): "loss.b=1.0",
        (False, "a"): "loss.a=0.1 loss.b=1.0",  # a section `loss` needs a weight for each
        (False, "b"): "loss.b=1.0 loss.a=1.0",
    }


@pytest.mark.parametrize(("ratio", "expected"), [(0.3, [("learning_rate_too_high", 6), ("recovered", 7)]), (0.01, [])])
def test_update_ratios_tell_of_a_rate_that_is_too_high(ratio, expected):
    assert names(Doctor(), calm(60, **{"train/update_ratio": ratio})) == expected


def test_without_update_ratios_a_rate_is_never_called_too_low():
    assert names(Doctor(), calm(300, **{"train/update_ratio": 1e-6})) == [("learning_rate_too_low", 201)]
    assert names(Doctor(), calm(300)) == []


# ------------------------------------------------------------------------------------------- signals, terms, presets


def evaluated(count, start=1, **row):
    return [{"iteration": 10 * n, "epoch": n, **row} for n in range(start, start + count)]


def test_a_flat_prediction_is_a_collapse_even_where_there_is_no_loss():
    assert names(Doctor(), evaluated(6, **{"val/signal/std_ratio": 0.03})) == [("collapse", 50)]
    assert names(Doctor(), evaluated(6, **{"val/signal/std_ratio": 0.8, "val/signal/own": 0.0})) == []


def test_a_code_that_says_nothing_counts_once_its_weight_has_arrived():
    rows = evaluated(9, **{"val/signal/kl_per_dim": 1e-4})
    assert names(Doctor(), rows) == [("collapse", 30)]
    assert names(Doctor(changes=KnownChanges(ramps=[(11, 40)])), rows) == [("collapse", 70)]


BEGIN = {"iteration": 0, "epoch": 0}


@pytest.mark.parametrize(
    ("baseline", "row", "dead"),
    [
        ({"loss/xy": 1.0, "loss/angle": 1.0}, {"loss/xy": 0.5, "loss/angle": 0.999}, True),
        # losses count first: of a metric of the term's name more may be better, as of SSIM beside 1 - SSIM
        ({"loss/xy": 1.0, "loss/angle": 1.0, "angle": 9.0}, {"loss/xy": 0.5, "loss/angle": 0.2, "angle": 8.99}, False),
        ({"loss/xy": 1.0, "loss/angle": 1.0, "angle": 9.0}, {"loss/xy": 0.5, "loss/angle": 0.99, "angle": 3.0}, True),
        ({"loss/xy": 1.0, "angle": 9.0}, {"loss/xy": 0.5, "loss/angle": 0.2}, False),  # one has it, one has not
        ({"xy": 1.0, "angle": 9.0}, {"loss/xy": 0.5, "xy": 0.5, "loss/angle": 0.2, "angle": 9.0}, True),
        ({"loss/xy": 1.0, "loss/angle": 0.0}, {"loss/xy": 0.5, "loss/angle": 0.3}, False),  # as a constant is smooth
        ({"loss/xy": 1.0, "loss/angle": "NaN"}, {"loss/xy": 0.5, "loss/angle": 0.3}, False),
        ({"loss/xy": 1.0, "loss/angle": 1.0}, {"loss/xy": 0.999, "loss/angle": 1.0}, False),  # nothing is learned yet
        ({"epe": 10.0}, {"loss/xy": 1.0, "epe": 10.0}, False),  # epe is no term
        ({}, {"loss/xy": 1.0}, False),
    ],
)
@pytest.mark.parametrize("weight", [None, 2.0, 0.0])  # a term of weight 0 is meant to be dead
def test_a_term_no_better_than_the_trivial_predictor_s(baseline, row, dead, weight):
    doctor = Doctor(weights=None if weight is None else lambda iteration: {"xy": 1.0, "angle": weight})
    rows = [{**BEGIN, **{f"baseline/{name}": value for name, value in baseline.items()}}]
    rows += evaluated(6, **{f"val/{name}": value for name, value in row.items()})
    found = [finding for row in rows for finding in doctor.read(row)]
    expected = [("dead_term", "angle", 50)] if dead and weight != 0 else []
    assert [(finding.name, finding.subject, finding.last) for finding in found] == expected


def test_the_advice_raises_the_weight_that_holds_just_then():
    doctor = Doctor(weights=lambda iteration: {"xy": 1.0, "angle": 0.01 * iteration})
    rows = [{**BEGIN, "baseline/loss/xy": 1.0, "baseline/loss/angle": 1.0}]
    rows += evaluated(5, **{"val/loss/xy": 0.5, "val/loss/angle": 1.0})
    (finding,) = [finding for row in rows for finding in doctor.read(row)]
    assert finding.advice[0].override == "loss.angle=1.5"


def test_a_metric_of_which_more_is_better_is_no_error():
    rows = [{**BEGIN, "baseline/iou": 0.1, "baseline/loss/iou": 0.9, "baseline/loss/xy": 1.0}]
    rows += evaluated(6, **{"val/iou": 0.7, "val/loss/iou": 0.3, "val/loss/xy": 0.1})
    assert names(Doctor(metric="val/iou", mode="max"), rows) == []


def test_weight_decay_is_advised_in_numbers():
    training = [2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13]
    validation = [2.0, 1.2, 1.0, 0.9, 0.95, 1.0, 1.1, 1.2, 1.3, 1.4]
    doctor = Doctor(RunSettings(weight_decay=0.01))
    found = [finding for row in epochs(training, validation) for finding in doctor.read(row)]
    advised = {advice.override for finding in found for advice in finding.advice}
    assert "optimizer.weight_decay=0.05" in advised


def test_absolute_limits_stand_in_the_place_of_three_detectors():
    losses = [0.43, 0.42, 0.41]
    rows = [*epochs([0.28, 0.27, 0.35], losses), {"iteration": 40, "epoch": 4, "train/epoch_avg_loss": 0.4},
            {"iteration": 40, "epoch": 4, "val/loss": 0.41}]  # fmt: skip
    doctor = Doctor(rules="absolute")
    found = [finding for row in rows for finding in doctor.read(row)]
    assert [(finding.name, finding.subject, finding.last) for finding in found] == [
        ("overfitting", "", 10), ("recovered", "overfitting", 30)
    ]  # fmt: skip
    assert not {"overfitting", "unstable_validation", "slow_convergence"} & set(doctor.detectors)
    with pytest.raises(ValueError, match="it can be 'relative' or 'absolute'"):
        Doctor(rules="fixed")


# ------------------------------------------------------------------------------------------------------ known changes


def lifted(at, until=300):
    """A loss that stands at three times its level from an iteration on, with its noise."""
    for i in range(1, until):
        yield {"iteration": i, "epoch": 1, "train/batch_loss": (6.0 if i >= at else 2.0) + 0.1 * (i % 7)}


@pytest.mark.parametrize(
    "change", [{"rates": [150]}, {"weights": [150]}, {"ramps": [(130, 149)]}, {"ramps": [(140, 160)]}]
)
def test_a_level_that_is_changed_on_purpose_is_no_trouble(change):
    assert {name for name, _ in names(Doctor(), lifted(150))} >= {"loss_spike", "slow_divergence"}
    assert names(Doctor(changes=KnownChanges(**change)), lifted(150)) == []


@pytest.mark.parametrize("rows", [149, 150, 151])
def test_the_change_may_come_in_a_row_that_is_missing(rows):
    kept = [row for row in lifted(150) if row["iteration"] not in range(140, 160)]
    doctor = Doctor(changes=KnownChanges(rates=[150]))
    assert names(doctor, kept) == []
    assert names(doctor, list(lifted(150))[rows - 5 : rows]) == []  # seen before, or left out: passed over


def test_trouble_between_changes_is_found_all_the_same():
    doctor = Doctor(changes=KnownChanges(rates=[100, 400], ramps=[(500, 520)]))
    assert "slow_divergence" in dict(names(doctor, lifted(250)))


def test_within_a_ramp_a_loss_may_rise_and_a_spike_is_still_one():
    rising = [{"iteration": i, "train/batch_loss": 2.0 + 0.1 * (i % 7) + 0.02 * max(i - 100, 0)} for i in range(1, 300)]
    assert "slow_divergence" in dict(names(Doctor(), rising))
    changes = KnownChanges(ramps=[(101, 300)])
    assert names(Doctor(changes=changes), rising) == []
    rising[250]["train/batch_loss"] = 99.0
    assert dict(names(Doctor(changes=changes), rising))["loss_spike"] == 251


def test_a_first_phase_in_which_a_weight_comes_up_is_not_called_too_high_a_rate():
    rising = [{"iteration": i, "train/batch_loss": 2.0 + 0.01 * i} for i in range(1, 50)]
    assert "learning_rate_too_high" in dict(names(Doctor(), rising))
    assert "learning_rate_too_high" not in dict(names(Doctor(changes=KnownChanges(ramps=[(2, 90)])), rising))


def test_another_weight_makes_other_validation_losses_usual():
    training = [2.0, 1.0, 0.7, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.16, 0.13]
    validation = [2.0, 1.2, 1.0, 0.9, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1]
    assert "overfitting" in dict(names(Doctor(), epochs(training, validation)))
    changes = KnownChanges(ramps=[(41, 110)])
    assert names(Doctor(changes=changes), epochs(training, validation)) == []
    standing = [*epochs([1.0] * 30, [1.0] * 5 + [3.0] * 25)]
    assert dict(names(Doctor(), standing))["plateau"] == 110
    assert dict(names(Doctor(changes=KnownChanges(weights=[51])), standing))["plateau"] == 160  # ten after the change


def test_a_run_that_was_taken_back_is_judged_by_what_was_usual_before():
    doctor = Doctor()
    losses = [2.0 + 0.1 * (i % 7) for i in range(120)] + [9.0] * 10 + [2.3, 9.0]
    found = []
    for i, loss in enumerate(losses, start=1):
        if i == 131:
            doctor.take_back(121)
        found += [(i, finding.name) for finding in doctor.read({"iteration": i, "train/batch_loss": loss})]
    assert found == [
        (121, "loss_spike"), (126, "slow_divergence"), (128, "divergence"), (129, "recovered"),
        (131, "recovered"), (131, "recovered"), (132, "loss_spike"),
    ]  # fmt: skip

"""The first thing that differs, in the order of cause and effect."""

import copy
import json

import pytest

from ignition.exact_resume.differences import Difference, first_difference, read_notes, timeless
from ignition.rundir import RunFolder


def note(iteration, **changed):
    row = {
        "iteration": iteration,
        "epoch": 1,
        "samples": [7, 3],
        "batch": {"x": ["a", "b"], "scale": ["c"]},
        "augmented": {"x": ["d", "e"]},
        "weights": {"0.weight": "f", "0.bias": "g"},
        "optimizer": {"exp_avg of 0.weight": "h"},
        "average": {},
        "generators": {"random": "i", "torch": "j"},
    }
    return {**row, **changed}


def found(*changed, saved=None):
    """The first difference between three iterations and the same three with changes, each after all before it."""
    mine = [note(4), note(5), note(6)]
    others = copy.deepcopy(mine)
    for iteration, key, value in changed:
        others[iteration - 4][key] = value
    if saved is not None:
        mine.append({"saved": saved[0]})
        others.append({"saved": saved[1]})
    return first_difference([mine], [others])


@pytest.mark.parametrize(("changed", "first"), [
    ([], None),
    ([(5, "samples", [7, 2])],
     Difference(5, "samples", "sample 3 is number 2 of the batch in the one, sample 2 in the other")),
    ([(6, "batch", {"x": ["a", "B"], "scale": ["c"]})], Difference(6, "batch", "'x' of the batch, sample 3")),
    ([(6, "batch", {"x": ["a", "b"], "scale": ["C"]})], Difference(6, "batch", "'scale' of the batch")),
    ([(5, "augmented", {"x": ["D", "E"]})], Difference(5, "augmented", "'x' of the batch as augmented, sample 7")),
    ([(5, "weights", {"0.weight": "f", "0.bias": "G"})], Difference(5, "weights", "0.bias")),
    ([(5, "optimizer", {})], Difference(5, "optimizer", "exp_avg of 0.weight, in the optimizer")),
    ([(5, "generators", {"random": "i", "torch": "J"})], Difference(5, "generators", "the generator torch")),
    # a cause comes before its effects, an iteration before the next
    ([(5, "weights", {}), (5, "augmented", {"x": ["d", "E"]})],
     Difference(5, "augmented", "'x' of the batch as augmented, sample 3")),
    ([(5, "weights", {}), (6, "samples", [])], Difference(5, "weights", "0.weight")),
])  # fmt: skip
def test_the_first_difference(changed, first):
    assert found(*changed) == first


def test_what_a_checkpoint_holds_is_compared_but_for_what_goes_by_the_clock():
    one = {"model.w": "a", "job_hours.seconds": "b", "stability.doctor.detectors.data_wait.times[0]": "c"}
    assert found(saved=(one, {**one, "job_hours.seconds": "d"})) is None
    assert found(saved=(one, {**one, "model.w": "e"})) == Difference(None, "saved", "model.w in the checkpoint")
    assert found(saved=(one, {})).place() == "at the end: model.w in the checkpoint"


def test_each_process_is_compared():
    mine = [[note(4)], [note(4)]]
    assert first_difference(mine, [[note(4)], [note(4, samples=[1, 3])]]).kind == "samples"


def folder(path, rows):
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunFolder(path)


ROWS = [
    {"time": 1.0, "iteration": 4, "train/batch_loss": "NaN", "train/gradient_norm": 2.0},
    {"time": 1.1, "iteration": 4, "train/step_ms_p50": 3.0},
    {"time": 1.2, "iteration": 5, "train/batch_loss": 0.5},
    {"time": 1.3, "iteration": 5, "val/mae": 0.25},
]


@pytest.mark.parametrize(("change", "first"), [
    (lambda rows: [{**row, "time": 2.0} for row in rows], None),
    (lambda rows: [rows[0], *rows[2:]], None),  # how fast it was is nobody's fault
    (lambda rows: [{**row, "train/batch_loss": 0.25} if row["iteration"] == 5 else row for row in rows],
     Difference(5, "row", "train/batch_loss in metrics.jsonl is 0.5 in the one, 0.25 in the other")),
    (lambda rows: [*rows[:3], {**rows[3], "val/mae": 0.5}],
     Difference(5, "evaluation", "val/mae in metrics.jsonl is 0.25 in the one, 0.5 in the other")),
    (lambda rows: rows[:3], Difference(5, "evaluation", "a row of metrics.jsonl (val/mae, ...) is in one run alone")),
])  # fmt: skip
def test_rows_are_compared_but_for_their_times(tmp_path, change, first):
    one, other = folder(tmp_path / "one", ROWS), folder(tmp_path / "other", change(ROWS))
    assert first_difference([], [], one, other) == first


def test_a_loss_is_the_cause_of_weights_and_a_batch_that_of_the_loss(tmp_path):
    one = folder(tmp_path / "one", ROWS)
    other = folder(tmp_path / "other", [{**row, "train/batch_loss": 9.0} for row in ROWS])
    assert first_difference([[note(4)]], [[note(4, weights={})]], one, other).kind == "row"
    assert first_difference([[note(4)]], [[note(4, batch={})]], one, other).kind == "batch"


def test_whether_data_was_waited_for_is_no_difference():
    rows = [{"name": "data_wait", "iteration": 3}, {"name": "recovered", "subject": "data_wait"}, {"name": "spike"}]
    assert timeless(rows) == [{"name": "spike"}]


def test_the_torn_line_of_a_killed_process_is_left_out(tmp_path):
    (tmp_path / "notes-0.jsonl").write_text('{"iteration": 1}\n{"iteration": 2}\n{"itera')
    (tmp_path / "notes-10.jsonl").write_text('{"iteration": 10}\n')
    (tmp_path / "notes-2.jsonl").write_text('{"iteration": 3}\n')
    assert read_notes(tmp_path) == [[{"iteration": 1}, {"iteration": 2}], [{"iteration": 3}], [{"iteration": 10}]]

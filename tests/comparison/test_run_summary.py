"""A run that has ended, read from its folder."""

import math

import pytest

from ignition.comparison import ComparisonError, RunSummary
from ignition.comparison.run_summary import first_difference
from ignition.rundir import RunFolder
from tests.comparison.run_folders import make_run


def test_a_run_is_read_with_its_settings_numbers_and_end(tmp_path):
    make_run(tmp_path / "a", [3.0, 1.0, 2.0], seed=4, status="stopped", reason="no improvement")
    run = RunSummary.read(tmp_path / "a")
    assert (run.name, run.task, run.seed, run.status, run.reason) == ("a", "tiny", 4, "stopped", "no improvement")
    assert run.values("val/mae") == [6.0, 2.0, 4.0]
    assert (run.best_epoch, run.complete) == (2, True)


def test_a_best_value_is_never_one_that_is_not_finite(tmp_path):
    make_run(tmp_path / "a", [3.0, math.nan, 2.0])
    assert RunSummary.read(tmp_path / "a").best_epoch == 3
    make_run(tmp_path / "b", [math.nan, math.inf])
    assert math.isnan(RunSummary.read(tmp_path / "b").best_epoch)


def test_what_cannot_be_compared_is_told_with_its_place(tmp_path):
    with pytest.raises(ComparisonError, match="nowhere: No such file or directory"):
        RunSummary.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComparisonError, match=r"empty is no run folder: it has no config.yaml and no recipe.py"):
        RunSummary.read(tmp_path / "empty")
    make_run(tmp_path / "unbegun", [1.0])
    (tmp_path / "unbegun" / "metrics.jsonl").unlink()
    with pytest.raises(ComparisonError, match="no numbers in its log"):
        RunSummary.read(tmp_path / "unbegun")


def test_a_run_that_goes_on_is_refused_and_one_that_was_killed_is_named_so(tmp_path):
    make_run(tmp_path / "a", [3.0], status="running", reason="")
    with RunFolder.open(tmp_path / "a").lock(), pytest.raises(ComparisonError, match=r"still going on \(process \d+"):
        RunSummary.read(tmp_path / "a")
    run = RunSummary.read(tmp_path / "a")
    assert (run.status, run.complete) == ("killed", False)
    assert "killed after iteration 10" in run.reason


def test_two_runs_are_the_same_where_every_number_is_whatever_the_clock_says(tmp_path):
    for name, last in (("a", 1.0), ("b", 1.0), ("c", 1.0 + 2**-52)):
        make_run(tmp_path / name, [2.0, last], rows=[{"iteration": 20, "epoch": 2, "train/step_ms_p50": hash(name)}])
    one, same, other = (RunSummary.read(tmp_path / name) for name in "abc")
    assert first_difference(one, same) is None
    assert "iteration 20" in first_difference(one, other)

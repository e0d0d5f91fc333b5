import csv
import errno
import json
import logging
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from ignition import checkpoint_file
from ignition.run import main
from ignition.rundir import Bundle, RunFolder

from .conftest import COMMON, incidents

NO_SNAPSHOTS = "stability.on={divergence: tell}"


def bundles(run="run"):
    return list(RunFolder(run).bundles)


def names(run="run"):
    return [bundle.name for bundle in bundles(run)]


def numbers(run):
    """The rows of iterations, without the time of day and the speed."""
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "train/batch_loss" in row]
    return {row["iteration"]: row["train/batch_loss"] for row in steps}


def test_an_incident_leaves_all_it_takes_to_run_it_again(train):
    train("recipe.odd=77", "stability.measure_every=10")
    assert names() == ["00000005-non_finite", "00000023-non_finite"]
    bundle = bundles()[1]
    assert {path.name for path in bundle.path.iterdir()} == {
        "incident.json", "rows.jsonl", "layers.csv", "before.pt", "config.yaml"
    }  # fmt: skip
    incident = bundle.read_incident()
    (told,) = [row for row in incidents("run") if row["name"] == "non_finite" and row["first"] == 23]
    assert {name: incident[name] for name in ("name", "message", "first", "last", "action", "done")} == {
        name: told[name] for name in ("name", "message", "first", "last", "action", "done")
    }
    assert incident["batches"] == {"23": told["evidence"]["samples"]}
    assert 77 in incident["batches"]["23"] and len(incident["batches"]["23"]) == 8
    steps = {row["iteration"]: row for row in bundle.read_rows() if "train/batch_loss" in row}
    assert list(steps) == list(range(1, 24)) and math.isnan(steps[23]["train/batch_loss"])
    table = list(csv.DictReader(bundle.layers.read_text().splitlines()))
    assert [row["parameter"] for row in table] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(float(row["exp_avg@23"]) > 0 and row["not_finite@23"] == "0" for row in table)
    measured = [name for name in table[0] if name.startswith("update@")]
    assert len(measured) == 1 and float(table[0][measured[0]]) > 0


def test_the_state_is_a_second_name_of_the_newest_checkpoint_some_iterations_before(train):
    train("recipe.odd=77")
    bundle = bundles()[1]
    assert bundle.read_incident()["before"] == {"iteration": 10, "from": "checkpoint"}  # 15 and 20 are nearer than 8
    assert os.path.samefile(bundle.state, "run/checkpoints/iteration-00000010.pt")
    # before the first save there is the snapshot of the start
    assert bundles()[0].read_incident()["before"] == {"iteration": 0, "from": "snapshot"}


def test_before_the_first_save_there_is_the_beginning_which_needs_no_file(train):
    train("recipe.odd=77", NO_SNAPSHOTS)
    assert bundles()[0].read_incident()["before"] == {"iteration": 0, "from": "beginning"}
    assert not bundles()[0].state.exists()


def test_the_newest_has_to_do_where_there_is_no_other(train):
    train(
        "recipe.odd=77", NO_SNAPSHOTS, "checkpoint.keep=2", "checkpoint.every_iterations=7"
    )  # 16, the epoch's, and 21 are there
    assert bundles()[1].read_incident()["before"] == {"iteration": 21, "from": "checkpoint"}


ROLLBACK = ["stability.on={non_finite: rollback}", "stability.snapshot_every=4", "logging.every=1"]


def test_a_snapshot_in_memory_becomes_a_checkpoint_to_go_on_from(train, recipe, monkeypatch):
    monkeypatch.setenv("FAULT", "1")
    train(*ROLLBACK, "recipe.outside_at=14", "checkpoint.every_iterations=null", "trainer.epochs=1")
    monkeypatch.delenv("FAULT")
    (bundle,) = bundles()
    assert bundle.read_incident()["before"] == {"iteration": 4, "from": "snapshot"}  # of 4, 8 and 12
    payload = checkpoint_file.load(bundle.state)
    assert (payload["iteration"], payload["epoch"], payload["epoch_length"]) == (4, 0, 16)
    # a run that goes on from it takes the very steps that the run took
    straight = numbers("run")
    shutil.copytree("run", "again")
    for file in Path("again/checkpoints").iterdir():
        file.unlink()
    shutil.copy(bundle.state, "again/checkpoints/iteration-00000004.pt")
    assert main([str(recipe), "--resume", "again", "trainer.epochs=1"]) == 0
    again = numbers("again")
    assert [again[i] for i in range(1, 14)] == [straight[i] for i in range(1, 14)]
    assert straight[14] == "NaN" and again[14] != "NaN"


def test_a_state_from_before_a_rollback_does_not_lead_to_what_comes_after(train, monkeypatch):
    monkeypatch.setenv("FAULT", "1")  # sample 77 comes in iterations 5 and 23, and each time the run is taken back
    train(*ROLLBACK, "recipe.odd=77", "recipe.outside_at=27", "checkpoint.every_iterations=2")
    befores = {bundle.first: bundle.read_incident()["before"]["iteration"] for bundle in bundles()}
    assert befores == {5: 4, 23: 14, 27: 26}


@pytest.mark.parametrize("most", [0, 1])
def test_there_are_no_more_than_asked_for(train, most):
    train("recipe.odd=77", f"stability.bundles={most}")
    assert len(bundles()) == most
    assert sum(row["name"] == "non_finite" for row in incidents("run")) == 2
    assert Path("run/incidents").exists() == bool(most)


def test_a_resumed_run_goes_on_counting(train, recipe):
    train("recipe.odd=77", "stability.bundles=2", "trainer.epochs=1", "stability.on={non_finite: tell}")
    assert len(bundles()) == 1
    for epochs, count in ((2, 2), (4, 2)):
        assert main([str(recipe), "--resume", "run", f"trainer.epochs={epochs}"]) == 0
        assert len(bundles()) == count
    assert sum(row["name"] == "non_finite" for row in incidents("run")) == 4


def test_what_a_resume_takes_back_leaves_its_bundle_again(train, recipe):
    train("recipe.odd=77")
    told = bundles()[1].read_incident()
    for path in Path("run/checkpoints").glob("*.pt"):
        if path.name != "iteration-00000020.pt":
            path.unlink()
    (Path("run") / "status.json").unlink()
    assert main([str(recipe), "--resume", "run"]) == 0
    assert names() == ["00000005-non_finite", "00000023-non_finite"]
    again = bundles()[1].read_incident()
    assert {**again, "time": 0} == {**told, "time": 0, "before": {"iteration": 0, "from": "snapshot"}}


def test_a_full_disk_is_told_once_and_the_run_goes_on(train, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Bundle, "write_rows", full)
    with caplog.at_level(logging.WARNING):
        train("recipe.odd=77")
    told = [record.message for record in caplog.records if "leave no bundle" in record.message]
    assert told == [f"incidents leave no bundle under {Path('run/incidents').absolute()}, the run goes on: "
                    "No space left on device"]  # fmt: skip
    assert names() == [] and list(Path("run/incidents").iterdir()) == []
    assert json.loads(Path("run/status.json").read_text())["status"] == "finished"


def test_bundles_change_no_weight(train):
    weights = []
    for settings in ([], ["stability.bundles=0"], ["stability.watch=false"]):
        shutil.rmtree("run", ignore_errors=True)
        train("recipe.odd=77", *settings)
        weights.append(torch.load("run/checkpoints/last.pt", weights_only=True)["model"])
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in other)


def test_a_run_that_ends_at_its_first_step_that_is_not_finite_leaves_one_too(train):
    train("recipe.odd=77", "stability.policy=stop", code=3)
    assert names() == ["00000005-non_finite"]
    (row,) = incidents("run")
    assert (row["iteration"], row["first"]) == (5, 5)
    assert (
        row["message"]
        == "loss and gradient not finite at iteration 5 (loss nan, gradient norm nan); the step was not taken"
    )


def test_too_many_in_a_row_are_told_from_the_first_on(train, monkeypatch):
    monkeypatch.setenv("FAULT", "1")
    train("recipe.outside_at=6", "recipe.outside_for=99", "stability.max_skips=2", "logging.every=50", code=3)
    (row,) = incidents("run")
    assert (row["iteration"], row["first"], row["message"]) == (6, 6, "loss term 'square' is nan at iteration 6")
    assert names() == ["00000006-non_finite"]


def test_settings_that_a_resume_changed_are_those_of_the_bundle(train, recipe):
    train("recipe.odd=77", "trainer.epochs=1")
    assert main([str(recipe), "--resume", "run", "trainer.epochs=2", "optimizer.lr=0.0007"]) == 0
    assert "lr: 0.003" in bundles()[0].config.read_text()
    assert "lr: 0.0007" in bundles()[1].config.read_text()
    assert COMMON[1] == "optimizer.lr=0.003"

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ignition.monitor.__main__ import main
from ignition.review import Objection
from ignition.rundir import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    run.write_config("checkpoint: {metric: val/epe, mode: min}\n")
    run.write_recipe("")
    for i in (1, 2):
        run.write_metrics({"time": 1e9 + i, "iteration": i, "epoch": i, "train/batch_loss": 1.0 / i})
        run.write_metrics({"time": 1e9 + i, "iteration": i, "epoch": i, "val/epe": 4.0 - i, "val/loss": float("nan")})
    run.write_status(status="finished", reason="all 2 epochs done", metric="val/epe", best=2.0, epoch=2, epochs=2)
    return run


def find(run, severity):
    run.write_incident({"iteration": 2, "name": "plateau", "severity": severity, "message": "no better"})


def told(capsys, *words):
    code = main(list(map(str, words)))
    return code, json.loads(capsys.readouterr().out)


def test_one_object_for_machines(run, capsys):
    find(run, "warning")
    code, values = told(capsys, run.path, "--json")
    assert (code, values["findings"]) == (0, 1)
    (one,) = values["runs"]
    assert (one["name"], one["path"], one["status"]) == ("run", str(run.path), "finished")
    assert one["best"] == {"val/epe": 2.0, "iteration": 2}
    assert one["last"] == {"train/batch_loss": 0.5, "val/epe": 2.0, "val/loss": "NaN"}
    assert (one["findings"][0]["name"], one["findings"][0]["advice"]) == ("plateau", [])
    assert (one["objections"], one["problems"], one["notes"]) == ([], [], [])
    assert list(one) == [
        "name", "path", "status", "reason", "epoch", "epochs", "iteration", "iterations", "steps_per_second",
        "seconds_left", "silent_seconds", "seconds", "learning_rate", "metric", "mode", "best", "best_iteration",
        "last", "trivial", "loss", "val_loss", "gap", "checkpoint", "disk_left", "read", "findings", "objections",
        "problems", "notes",
    ]  # fmt: skip


def test_strict_is_about_what_is_more_than_a_note(run, capsys):
    assert main([str(run.path), "--strict"]) == 0
    find(run, "info")
    assert main([str(run.path), "--strict"]) == 0
    find(run, "warning")
    find(run, "warning")
    assert main([str(run.path), "--strict"]) == 1
    assert main([str(run.path)]) == 0
    capsys.readouterr()
    assert told(capsys, run.path, run.path, "--json", "--strict")[1]["findings"] == 2


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_strict_is_about_a_run_that_is_lost(run, capsys, status):
    run.write_status(status=status, reason="a reason")
    assert main([str(run.path), "--strict"]) == 1
    assert f"run  {status}\na reason\n" in capsys.readouterr().out


def test_strict_is_about_objections(run):
    run.write_review([Objection("rate_too_high", "optimizer.lr", "high", "steps overshoot").row()])
    assert main([str(run.path), "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["nothing"], "nothing: there is no such folder or file"),
        (["--watch", "--json", "."], "--watch and --json are different ways to look"),
        (["--map", "loss", "."], "--map loss: written THEIRS=OURS"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_what_is_asked_wrongly_is_said(words, wanted, capsys):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert wanted in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(run):
    shell = f"{sys.executable} -m ignition.monitor {run.path} {run.path} --json | head -c 20"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_that_nobody_watched_is_diagnosed_here(tmp_path, capsys):
    run = RunFolder.create_at(tmp_path / "unwatched")
    run.write_config("stability: {watch: false}\noptimizer: {lr: 0.1}\nloss: {kl: {from: 0, to: 1, epochs: 5}}\n")
    run.write_recipe("")
    for i in range(1, 101):
        run.write_metrics({"iteration": i, "epoch": 1, "train/batch_loss": 2.0 + 0.1 * (i % 7) if i < 100 else "NaN"})
    _, values = told(capsys, run.path, "--json")
    (one,) = values["runs"]
    assert [(found["name"], found["first"]) for found in one["findings"]] == [("non_finite", 100)]
    assert one["findings"][0]["advice"][-1]["override"].startswith("optimizer.lr=0.0")
    (note,) = one["notes"]
    assert note.startswith("stability.watch=false: the findings are the monitor's own, from the rows; it does not know")


def test_somebody_elses_log_with_names_that_are_given(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("step,J\n1,2.0\n2,1.0\n")
    _, values = told(capsys, tmp_path / "log.csv", "--map", "J=train/batch_loss", "--json")
    assert values["runs"][0]["last"] == {"train/batch_loss": 1.0}
    assert values["runs"][0]["notes"] == ["taken for: J = train/batch_loss"]

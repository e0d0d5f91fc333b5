"""The command: which incident is meant, what is listed, what is told."""

import json
from pathlib import Path

import pytest

from ignition.incidents.replayed import Comparison, Replayed, Step
from ignition.incidents.report import print_report
from ignition.incidents.trial import Trial
from ignition.incidents.verdict import Limits, Verdict
from ignition.replay import main
from ignition.rundir import RunFolder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with three incidents, of which the first and the last have a bundle."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create_at("run")
    folder.write_config("trainer: {epochs: 1}")
    folder.write_recipe("class Recipe: ...")
    incidents = [("loss_spike", 37, 40), ("plateau", 64, 64), ("non_finite", 70, 75)]
    for name, first, told in incidents:
        row = {"iteration": told, "name": name, "severity": "warning", "message": f"{name} found", "subject": ""}
        row |= {"first": first, "last": first, "advice": []}
        folder.write_incident(row)
        if name != "plateau":
            with folder.bundles.writing(first, name) as bundle:
                bundle.write_incident(row)
    folder.close()
    return folder


def test_without_an_incident_they_are_listed(run, capsys):
    assert main(["run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["no.", "iteration", "what", "bundle", "message"]
    assert lines[1] == ["1", "37", "loss_spike", "yes", "loss_spike", "found"]
    assert lines[2] == ["2", "64", "plateau", "plateau", "found"]
    assert main(["run", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["incidents"]
    assert [(one["number"], one["first"], one["bundle"]) for one in listed] == [
        (1, 37, "00000037-loss_spike"), (2, 64, None), (3, 70, "00000070-non_finite")
    ]  # fmt: skip


def test_a_run_without_incidents_says_so(tmp_path, capsys):
    folder = RunFolder.create_at(tmp_path / "run")
    folder.write_config("")
    folder.write_recipe("")
    assert main([str(folder.path)]) == 0
    assert "no incidents" in capsys.readouterr().out


@pytest.mark.parametrize("which", ["1", "37", "40", "00000037-loss_spike", "run/incidents/00000037-loss_spike/"])
def test_an_incident_has_a_number_an_iteration_and_a_folder(run, capsys, which):
    assert main(["run", which]) == 2  # which is found, and is no bundle that can be run
    assert "00000037-loss_spike: its incident.json cannot be read, or is none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("4", "there is no incident 4"),
        ("0", "there is no incident 0"),
        ("38", "there is no incident 38"),
        ("loss_spike", "there is no incident 'loss_spike'"),
        ("2", "incident 2 (plateau, iteration 64) has no bundle: only what is about single steps leaves one"),
        ("64", "incident 2 (plateau, iteration 64) has no bundle"),
    ],
)
def test_another_one_is_refused_with_those_that_are_there(run, capsys, which, message):
    assert main(["run", which]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert "To be replayed: 1 (loss_spike, iteration 37), 3 (non_finite, iteration 70)" in error


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_setting_is_no_incident(run, capsys):
    assert main(["run", "trainer.device=cpu"]) == 0
    assert "plateau found" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["run", "1", "cpu"])


AGREE = "{} of {} losses are the logged ones; from iteration {} on they differ, {}"
INCIDENT = {"first": 5, "message": "loss is nan at iteration 5", "before": {"iteration": 3, "from": "checkpoint"}}


def test_the_report_is_read_at_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    nan = float("nan")
    fine, bad = (
        Trial((1.0,), {"square": 1.0}, 2.0),
        Trial((nan,), {"square": nan}, nan, {"w": {"weight": 1.0, "gradient": nan}}),
    )
    limits = Limits(3.0, 9.0)
    tests = [Comparison(state, bad, {(1,): fine, (3,): fine}, limits) for state in (3, 4)]
    steps = [Step(4, 1.25, 1.25, 2.0, 2.0, 0.01), Step(5, nan, nan, nan, nan)]
    done = Replayed(
        INCIDENT, [[7, 8]], steps, tests, {7: bad, 8: fine}, [7], 3, fine, verdict=Verdict("sample", "with 7", [7])
    )
    print_report(Path("runs/depth/depth-001"), "00000005-non_finite", 1, done)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "run again from a checkpoint of iteration 3: iterations 4 to 5" in out
    assert "all 2 losses are the logged ones, bit for bit" in out
    assert "nan / nan BAD" in out
    assert out.endswith("verdict: sample 7 of the batch\nWith 7.\n")


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([(1.0, 1.0)], "the loss is the logged one, bit for bit"),
        ([(1.0, 1.0), (2.0, None)], "the loss is the logged one, bit for bit (1 not in the log)"),
        ([(1.0, None)], "the log has none of these iterations"),
        ([(1.0, 1.0), (2.0, 2.5)], AGREE.format(1, 2, 5, "by 20 % at most")),
        ([(1.0, float("nan"))], AGREE.format(0, 1, 4, "not all are finite")),
    ],
)  # fmt: skip
def test_how_far_a_replay_agrees_is_said(capsys, monkeypatch, pairs, told):
    monkeypatch.setenv("COLUMNS", "200")
    fine = Trial((1.0,), {"square": 1.0}, 2.0)
    tests = [Comparison(state, fine, {(1,): fine}, Limits(3.0, 9.0)) for state in (3, 4)]
    steps = [Step(4 + number, *pair) for number, pair in enumerate(pairs)]
    done = Replayed(INCIDENT, [[7]], steps, tests, verdict=Verdict("neither", "it"))
    print_report(Path("run"), "00000005-non_finite", None, done)
    assert told in capsys.readouterr().out.splitlines()

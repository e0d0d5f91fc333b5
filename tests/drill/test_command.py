"""The command that lets accidents happen, from its words to its table."""

import os
import signal
import time
from pathlib import Path

import pytest

from ignition.drill.accidents import BODIES
from ignition.drill.command import ACCIDENTS, main


def ended(process, seconds=240):
    """Exit code, standard output and standard error."""
    out, errors = process.communicate(timeout=seconds)
    return process.returncode, out, errors


def test_every_accident_is_survived_and_nothing_stays(drill, tmp_path, temporary):
    code, out, errors = ended(drill("data.workers=1"))
    assert code == 0, out + errors
    cells = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if line.startswith("│ ")]
    assert {name: verdict for _, name, verdict, *_ in cells if name} == dict.fromkeys(ACCIDENTS, "survived")
    assert "13 of 13 survived" in errors and "8 of 13: full_disk: survived" in errors
    assert "killed after iteration 7, on from 6: exact" in out
    assert os.listdir(temporary) == []
    assert set(os.listdir(tmp_path)) - {"__pycache__"} == {"few_rows.py"}


def test_what_is_not_survived_is_told_with_where_it_differs_and_is_a_failure(drill, tmp_path, temporary):
    # its losses hang on random numbers that nobody can seed
    code, out, errors = ended(drill("recipe.whim=0.5", "--only", "kill,nan_batch", "--only", "killed_worker",
                                    "--output", str(tmp_path / "kept")))  # fmt: skip
    assert code == 1
    assert "NOT SURVIVED" in out and "it differs from the run to which nothing happened: model." in " ".join(
        out.split()
    )
    assert "data.workers is 0; try data.workers=2" in out
    assert "1 of 2 survived" in errors and "; not: kill" in errors
    assert {"straight", "killed", "kill", "nan_batch", "logs"} <= set(os.listdir(tmp_path / "kept"))


def test_a_recipe_that_does_not_train_by_itself_is_told_as_that(drill, tmp_path, temporary):
    code, _, errors = ended(drill("loss={nothing: 1.0}"))
    assert code == 2
    assert "a short run without any accident fails (exit code 1):" in errors and "nothing" in errors
    assert os.listdir(temporary) == []


def test_sigterm_ends_it_with_all_that_it_began_and_leaves_nothing(drill, tmp_path, temporary):
    process = drill("recipe.hang=true")
    end = time.monotonic() + 60
    while not list(temporary.glob("*/straight/status.json")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # Ctrl-C goes the same way
    code, _, errors = ended(process, 30)
    assert code == 130 and "interrupted" in errors and "Traceback" not in errors
    assert os.listdir(temporary) == []
    children = [int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit()]
    assert not [pid for pid in children if str(tmp_path) in words_of(pid)]


def words_of(pid):
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_the_accidents_are_listed(capsys):
    assert list(BODIES) == list(ACCIDENTS)
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ACCIDENTS)
    assert "kill -9 in mid-epoch" in lines[0]


@pytest.mark.parametrize(("words", "message"), [
    (["--only", "kill,fire"], "there is no accident 'fire'; there are kill, sigterm,"),
    (["--at", "0.5"], "--at belongs to a --fault"),
    (["--resume"], "--resume is for a run"),
    (["--find-lr"], "--find-lr is for a run"),
    ([], "no such recipe file"),
])  # fmt: skip
def test_bad_usage_is_told(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["recipe.py", *words])
    except SystemExit as end:
        code = end.code
    assert code == 2 and message in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_not_worked_in(few_rows, tmp_path, capsys):
    assert main([str(few_rows), "--output", str(tmp_path)]) == 2
    assert "is not empty: name another folder for --output" in capsys.readouterr().err

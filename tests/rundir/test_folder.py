import errno
import json
import logging
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ignition.rundir import RunFolder, RunFolderError, rows


def begun(path):
    """A run as it is after its start."""
    run = RunFolder.create_at(path)
    run.write_config("task: depth\n")
    run.write_recipe("class Recipe: ...\n")
    return run


def test_runs_are_numbered(tmp_path):
    paths = [RunFolder.create(tmp_path / "runs", "depth", "depth").path for _ in range(3)]
    assert [path.relative_to(tmp_path) for path in paths] == [Path(f"runs/depth/depth-00{n}") for n in (1, 2, 3)]
    assert sorted(os.listdir(paths[0])) == ["checkpoints", "pictures"]
    other = RunFolder.create(tmp_path / "runs", "depth", "depth_before")
    assert other.path.name == "depth_before-001"  # another config, though its name begins alike


def test_the_number_after_the_highest_is_taken_even_if_lower_ones_are_free(tmp_path):
    (tmp_path / "depth/depth-0998").mkdir(parents=True)
    (tmp_path / "depth/depth-999").mkdir()
    assert RunFolder.create(tmp_path, "depth", "depth").path.name == "depth-1000"


def test_many_starts_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda _: RunFolder.create(tmp_path, "depth", "depth").path.name, range(24)))
    assert sorted(runs) == [f"depth-{number:03d}" for number in range(1, 25)]


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "../../x", "/etc", "a b", "a\nb", "depth\n", "a\x00"])
def test_a_name_cannot_lead_elsewhere(tmp_path, name):
    for names in ((name, "depth"), ("depth", name)):
        with pytest.raises(RunFolderError, match="cannot be a folder's name"):
            RunFolder.create(tmp_path / "runs", *names)
    assert not (tmp_path / "runs/depth").exists() or not os.listdir(tmp_path / "runs/depth")


@pytest.mark.parametrize("place", ["päth with spaces/läufe", "a/b/c", "."])
def test_any_place_will_do(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(place, "depth", "depth")
    monkeypatch.chdir("/")  # the place was settled when the run began
    run.write_config("task: depth\n")
    assert (tmp_path / place / "depth/depth-001/config.yaml").read_text() == "task: depth\n"


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder.create_at("~/run").path == tmp_path / "run"


@pytest.mark.parametrize(("place", "reason"), [
    ("/proc/runs", "No such file or directory"),  # a file system that cannot be written, for root as well
    ("{tmp}/file/runs", "Not a directory"),
    ("{tmp}/" + "x" * 300, "File name too long"),
])  # fmt: skip
def test_an_impossible_place_is_told_at_once(tmp_path, place, reason):
    (tmp_path / "file").touch()
    place, began = place.format(tmp=tmp_path), time.perf_counter()
    for make in (lambda: RunFolder.create(place, "depth", "depth"), lambda: RunFolder.create_at(place)):
        with pytest.raises(RunFolderError) as refusal:
            make()
        assert place in str(refusal.value) and reason in str(refusal.value)
    assert RunFolder.is_run(place) is False
    assert time.perf_counter() - began < 1


def test_output_of_a_run_is_refused_and_resume_named(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a run: go on with it by --resume .*run, or name another folder"):
        RunFolder.create_at(tmp_path / "run")


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError, match="cannot make the folder .*run: File exists"):
        RunFolder.create_at(tmp_path / "run")


def test_a_folder_of_other_things_is_taken_and_a_run_killed_at_its_start_begins_anew(tmp_path):
    (tmp_path / "notes.txt").touch()
    run = RunFolder.create_at(tmp_path)
    run.write_config("task: depth\n")  # killed here
    assert not RunFolder.is_run(tmp_path)
    begun(tmp_path)
    assert RunFolder.is_run(tmp_path)


def test_what_is_left_of_a_run_is_not_overwritten(tmp_path):
    run = begun(tmp_path / "run")
    (run.checkpoints / "last.pt").touch()
    run.config_path.unlink()
    with pytest.raises(RunFolderError, match=r"holds parts of a run \(checkpoints/last.pt\) but no config.yaml"):
        RunFolder.create_at(run.path)


def test_open_says_what_is_missing(tmp_path):
    with pytest.raises(RunFolderError, match="none: No such file or directory"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunFolderError, match="is no run folder: it has no config.yaml and no recipe.py"):
        RunFolder.open(tmp_path)
    run = begun(tmp_path / "run")
    run.write_metrics({"iteration": 1})
    (run.path / "recipe.py").unlink()
    with pytest.raises(RunFolderError, match="is no run folder: it has no recipe.py"):
        RunFolder.open(run.path)


def test_open_takes_a_run_and_a_new_folder(tmp_path):
    assert RunFolder.open(begun(tmp_path / "run").path).path == tmp_path / "run"
    assert RunFolder.open(RunFolder.create_at(tmp_path / "new").path).path == tmp_path / "new"


def test_the_newest_run_of_a_config_is_found(tmp_path):
    assert RunFolder.newest(tmp_path, "depth", "depth") is None
    for name in ("depth-002", "depth-010", "other-011"):
        begun(tmp_path / "depth" / name)
    (tmp_path / "depth/depth-012").mkdir()  # never began
    assert RunFolder.newest(tmp_path, "depth", "depth") == tmp_path / "depth/depth-010"


def test_the_recipe_runs_from_its_own_place_as_long_as_it_is_what_ran(tmp_path):
    source = tmp_path / "recipes/depth.py"
    source.parent.mkdir()
    source.write_bytes(b"one = 1\r\n")
    run = begun(tmp_path / "run")
    run.write_recipe(source)
    run.write_environment()
    assert (run.path / "recipe.py").read_bytes() == b"one = 1\r\n"
    assert RunFolder.open(run.path).recipe_to_run() == source
    source.write_text("one = 2\n")
    assert RunFolder.open(run.path).recipe_to_run() == run.path / "recipe.py"
    source.unlink()
    assert RunFolder.open(run.path).recipe_to_run() == run.path / "recipe.py"


def test_a_recipe_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(RunFolderError, match="cannot read the recipe .*gone.py: No such file"):
        RunFolder.create_at(tmp_path / "run").write_recipe(tmp_path / "gone.py")


def test_status_keeps_what_it_is_not_told_anew(tmp_path):
    run = begun(tmp_path / "run")
    assert run.read_status() == {}
    run.write_status(status="running", reason="", best=float("nan"), iteration=0, last_checkpoint=None)
    first = run.read_status()
    assert first["status"] == "running" and first["pid"] == os.getpid() and first["best"] != first["best"]
    assert json.loads((run.path / "status.json").read_text())["best"] == "NaN"
    run.write_status(status="stopped", reason="enough", pid=7)
    second = run.read_status()
    assert (second["status"], second["reason"], second["iteration"], second["pid"]) == ("stopped", "enough", 0, 7)
    assert second["started"] == first["started"] and second["updated"] >= first["updated"]


def test_another_status_is_refused(tmp_path):
    with pytest.raises(ValueError, match="status is 'done'; it can be running, finished"):
        begun(tmp_path / "run").write_status(status="done")


def test_a_torn_status_is_none(tmp_path):
    run = begun(tmp_path / "run")
    (run.path / "status.json").write_bytes(b'{"status": "run')
    assert run.read_status() == {}
    run.write_status(status="running")
    assert run.read_status()["status"] == "running"


def test_a_full_disk_warns_once_and_the_old_status_stays(tmp_path, monkeypatch, caplog):
    run = begun(tmp_path / "run")
    run.write_status(status="running", iteration=1)

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "fsync", full)
        for iteration in (2, 3):
            run.write_status(status="running", iteration=iteration)
        with pytest.raises(RunFolderError, match="cannot write .*config.yaml: No space left on device"):
            run.write_config("lost")
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert run.read_status()["iteration"] == 1 and run.config_path.read_text() == "task: depth\n"
    assert not list(run.path.glob(".tmp-*"))
    run.write_status(status="running", iteration=4)
    assert run.read_status()["iteration"] == 4


def test_a_kill_at_any_operation_leaves_a_whole_status(tmp_path):
    run = begun(tmp_path / "run")
    for number in range(1, 100):
        run.write_status(status="running", iteration=0)
        child = os.fork()
        if child == 0:
            left = number

            def counted(operation):
                def step(*arguments, **options):
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return operation(*arguments, **options)

                return step

            for name in ("fsync", "replace", "unlink", "open", "close"):
                setattr(os, name, counted(getattr(os, name)))
            rows.open = counted(open)
            run.write_status(status="running", iteration=1)
            os._exit(0)
        _, how = os.waitpid(child, 0)
        status = run.read_status()
        assert status["status"] == "running" and status["iteration"] in (0, 1)
        if how == 0:
            break
    assert how == 0 and number > 5 and status["iteration"] == 1


def test_incidents_have_a_file_of_their_own(tmp_path):
    run = begun(tmp_path / "run")
    run.write_incident({"what": "LOSS_SPIKE", "evidence": {"loss": float("inf")}})
    run.write_metrics({"iteration": 1})
    assert json.loads((run.path / "incidents.jsonl").read_text())["evidence"] == {"loss": "Infinity"}
    assert [row["iteration"] for row in run.read_metrics()] == [1]
    run.rewind_metrics(0)
    assert run.read_metrics() == []


def test_measurements_have_a_file_of_their_own_and_are_rewound_with_the_metrics(tmp_path):
    run = begun(tmp_path / "run")
    for iteration in (1, 2):
        run.write_metrics({"iteration": iteration})
        run.write_measurement({"iteration": iteration, "layers": {"stem": {"weight": float("nan")}}, "untouched": []})
    assert json.loads((run.path / "measurements.jsonl").read_text().splitlines()[1])["layers"]["stem"] == {
        "weight": "NaN"
    }
    run.rewind_metrics(1)
    assert [row["iteration"] for row in run.measurements.read()] == [1]
    run.write_measurement({"iteration": 2})
    assert [row["iteration"] for row in run.measurements.read()] == [1, 2]


def test_a_run_that_could_not_begin_leaves_nothing(tmp_path):
    run = begun(tmp_path / "run")
    run.write_incident({"iteration": 0})
    run.write_measurement({"iteration": 0})
    run.discard()
    assert not run.path.exists()


def test_a_picture_has_a_place_even_where_somebody_cleared_the_folder(tmp_path):
    run = begun(tmp_path / "run")
    (run.path / "pictures").rmdir()
    path = run.picture(12, "../a b")
    assert path == run.path / "pictures/epoch-0012-..-a-b.png"
    path.touch()


def launched(place, launch, status):
    run = RunFolder.create_at(place)
    run.write_config("{}\n")
    run.write_recipe("class Recipe: ...\n")
    run.write_environment({"launch": launch})
    run.write_status(status=status)
    return run.path


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),  # no torchrun
        ({"TORCHELASTIC_RUN_ID": "night"}, "depth-002"),  # the newest that has not come to its end
        ({"TORCHELASTIC_RUN_ID": "night", "TORCHELASTIC_RESTART_COUNT": "1"}, "depth-003"),
        ({"TORCHELASTIC_RUN_ID": "day", "TORCHELASTIC_RESTART_COUNT": "1"}, None),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),  # no name, and not started again: a run of its own
    ],
)
def test_processes_started_again_find_the_run_of_their_launch(tmp_path, monkeypatch, variables, found):
    for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for number, (launch, status) in enumerate(
        [("night", "failed"), ("night", "running"), ("night", "finished"), (None, "failed")], start=1
    ):
        launched(tmp_path / "depth" / f"depth-{number:03d}", launch, status)
    path = RunFolder.of_this_launch(tmp_path, "depth", "depth")
    assert (path.name if path else None) == found


def test_a_launch_without_a_name_is_known_by_its_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    path = launched(tmp_path / "depth" / "depth-001", f"{socket.gethostname()}:{os.getppid()}", "failed")
    assert RunFolder.of_this_launch(tmp_path, "depth", "depth") == path

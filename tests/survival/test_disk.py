"""A disk that is full, that can only be read, or a run folder that is gone, under a whole run."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SIZE = 3 * 2**20


def test_a_run_whose_disk_is_full_for_a_while_ends_as_if_nothing_had_been(runs, mounted, caplog):
    disk = mounted("-t", "tmpfs", "-o", f"size={SIZE}", "none")
    long = ["trainer.epochs=12", "checkpoint.max_failures=99"]  # 72 iterations: rows enough to fill more than a page
    full = [f"recipe.fill={disk}", "recipe.fill_at=3", "recipe.free_at=63", "logging.tensorboard=true"]
    assert runs.train("--output", "straight", *long) == 0
    assert runs.train("--output", str(disk / "run"), *long, *full) == 0
    assert runs.same("straight", disk / "run", rows=False)
    assert not list((disk / "run").rglob(".tmp-*"))
    told = [record.getMessage() for record in caplog.records]
    failed = [message for message in told if "disk full: it needs 0.0 MiB, 0.0 MiB are free" in message]
    assert len(failed) >= 30 and all(str(disk / "run/checkpoints") in message for message in failed)
    # each of these once, however often it fails
    log, status, board, picture = (
        "metrics.jsonl, the run goes on without",
        "status.json",
        "TensorBoard stops",
        "pictures",
    )
    assert [sum(words in message for message in told) for words in (log, status, board, picture)] == [1, 1, 1, 1], told
    (gap,) = [row["rows_lost"] for row in runs.rows(disk / "run") if "rows_lost" in row]
    written = runs.rows(disk / "run")
    assert gap == len(runs.rows("straight")) - len(written) > 20
    assert [row["iteration"] for row in written if "train/batch_loss" in row][-9:] == list(range(64, 73))


def test_a_disk_that_stays_full_ends_the_run_which_goes_on_when_there_is_space(runs, mounted, capsys):
    disk = mounted("-t", "tmpfs", "-o", f"size={SIZE}", "none")
    assert runs.train("--output", "straight") == 0
    assert runs.train("--output", str(disk / "run"), f"recipe.fill={disk}", "recipe.fill_at=5") == 1
    error = capsys.readouterr().err
    assert "3 saves in a row" in error and "disk full" in error and "Traceback" not in error
    assert runs.payload(disk / "run")["iteration"] == 4
    (disk / "ballast").unlink()
    assert runs.train("--resume", str(disk / "run"), "recipe.fill_at=0") == 0
    assert runs.same("straight", disk / "run")


def test_a_folder_that_can_only_be_read_is_told_within_a_second_before_data_is_read(runs, mounted, capsys, tmp_path):
    assert runs.train("--output", "there/run", "trainer.epochs=1") == 0
    disk = mounted("--bind", str(tmp_path / "there"))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True, timeout=30)
    sys.modules["few_numbers"].CALLS.clear()
    for words in (["--output", str(disk / "new")], ["--resume", str(disk / "run")]):
        began = time.perf_counter()
        assert runs.train(*words) == 2
        assert time.perf_counter() - began < 1
        error = capsys.readouterr().err
        assert words[1] in error and "Read-only file system" in error
    assert sys.modules["few_numbers"].CALLS == []


def test_a_file_in_the_place_of_the_folder_is_told_as_well(runs, capsys):
    Path("taken").write_text("mine")
    assert runs.train("--output", "taken/run") == 2
    assert "Not a directory" in capsys.readouterr().err
    assert runs.train("--output", "taken") == 2
    assert Path("taken").read_text() == "mine"


def test_a_run_folder_that_vanishes_costs_what_was_in_it_and_no_more(runs, caplog):
    assert runs.train("--output", "straight") == 0
    assert runs.train("--output", "run", "recipe.vanish_at=7") == 0
    assert runs.same("straight", "run", rows=False)
    iterations = [row["iteration"] for row in runs.rows("run") if "train/batch_loss" in row]
    assert iterations[-3:] == [10, 11, 12]
    told = [record.getMessage() for record in caplog.records]
    assert any(str(Path("run/metrics.jsonl").absolute()) in message for message in told), told


def test_another_file_in_the_place_of_the_log_is_gone_on_with(runs):
    """As log rotation leaves it: rows go to where they can be found, not into a file without a name."""
    from ignition.rundir import RunFolder

    run = RunFolder.create_at("run")
    run.write_metrics({"iteration": 1})
    os.replace("run/metrics.jsonl", "run/metrics.jsonl.1")
    run.write_metrics({"iteration": 2})
    shutil.rmtree("run")
    run.write_metrics({"iteration": 3})
    Path("run").mkdir()
    run.write_metrics({"iteration": 4})
    assert [(row["iteration"], row.get("rows_lost")) for row in run.read_metrics()] == [(4, 1)]

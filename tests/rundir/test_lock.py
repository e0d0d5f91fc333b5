import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from ignition.rundir import RunFolder, RunFolderError
from ignition.rundir.lock import locked, owner

HOLD = """
import sys, time
from ignition.rundir import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("locked", flush=True)
    {then}
    time.sleep(60)
"""


@contextlib.contextmanager
def holding(path, then=""):
    """Another process that has the lock; it is killed at the end at the latest."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then), str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    with process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.fixture
def run(tmp_path):
    return RunFolder.create_at(tmp_path / "run")


def test_a_second_process_is_refused_and_told_by_whom_until_the_first_is_killed(run):
    with holding(run.path) as first:
        with pytest.raises(RunFolderError) as refusal, run.lock():
            pass
        expected = rf"{run.path} is in use by process {first.pid} on {re.escape(socket.gethostname())} since \d{{4}}-.*"
        assert re.match(expected, str(refusal.value))
        first.kill()
        first.wait()
        with run.lock():  # a kill -9 gives it free
            assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid()


def test_a_loader_worker_that_outlives_a_killed_run_does_not_hold_the_lock(run):
    with holding(run.path, "import os; os.fork() or print(os.getpid(), flush=True)") as first:
        worker = int(first.stdout.readline())
        first.kill()
        first.wait()
        try:
            os.kill(worker, 0)  # it is still there
            with run.lock():
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_run_is_locked_once_within_a_process_as_well(run):
    again = pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} ")
    with run.lock(), again, run.lock():
        pass
    with run.lock():
        pass


def test_an_error_within_gives_the_lock_free_and_comes_out_as_it_was(run):
    with pytest.raises(FileNotFoundError, match="not ours"), run.lock():
        raise FileNotFoundError("not ours")
    with run.lock():
        pass


def test_litter_of_a_killed_run_is_cleared(run):
    (run.path / ".tmp-4711-status.json.part").write_text("half")
    with run.lock():
        assert not list(run.path.glob(".tmp-*"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    began = time.perf_counter()
    refusal = pytest.raises(RunFolderError, match=f"cannot write in the run folder {tmp_path}/gone: No such file")
    with refusal, RunFolder(tmp_path / "gone").lock():
        pass
    assert time.perf_counter() - began < 1


def test_who_holds_a_lock_can_be_asked_without_taking_it(tmp_path):
    path = tmp_path / ".lock"
    assert owner(path) is None
    with locked(path):
        assert owner(path).startswith(f"process {os.getpid()} on ")
    assert owner(path) is None
    with locked(path):  # asking has left nothing behind
        pass

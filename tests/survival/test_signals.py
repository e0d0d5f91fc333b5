"""A signal in the middle of a save."""

import os
import signal
from pathlib import Path

import pytest


def in_save(monkeypatch, iteration, *numbers):
    """Let these signals come while the checkpoint of that iteration is on its way to the disk."""
    fsync, left = os.fsync, list(numbers)

    def interrupted(file):
        name = os.readlink(f"/proc/self/fd/{file}")
        if name.endswith(f"iteration-{iteration:08d}.pt.part"):
            while left:
                signal.raise_signal(left.pop(0))
        fsync(file)

    monkeypatch.setattr(os, "fsync", interrupted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("asynchronous", ["false", "true"])
def test_the_save_is_completed_and_the_run_ends(runs, monkeypatch, number, code, asynchronous):
    words = [f"checkpoint.asynchronous={asynchronous}"]
    assert runs.train("--output", "straight", *words) == 0
    with monkeypatch.context() as patch:
        if asynchronous == "true":  # Python's signals reach the main thread alone
            beside_save(patch, number)
        else:
            in_save(patch, 4, number)
        assert runs.train("--output", "run", *words) == code
    assert runs.status("run")["status"] == "preempted"
    assert 4 <= runs.payload("run")["iteration"] == runs.status("run")["iteration"] < 12
    assert not list(Path("run").rglob(".tmp-*"))
    assert runs.train("--resume", "run") == 0
    assert runs.same("straight", "run")


def beside_save(patch, number):
    fsync, sent = os.fsync, []

    def interrupted(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("iteration-00000004.pt.part") and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        fsync(file)

    patch.setattr(os, "fsync", interrupted)


def test_a_second_ctrl_c_ends_it_at_once_and_the_checkpoint_before_stays(runs, monkeypatch, capsys):
    assert runs.train("--output", "straight") == 0
    with monkeypatch.context() as patch:
        in_save(patch, 4, signal.SIGINT, signal.SIGINT)
        assert runs.train("--output", "run") == 130
    assert "interrupted" in capsys.readouterr().err
    assert runs.status("run") == {
        **runs.status("run"),
        "status": "preempted",
        "reason": "interrupted at once: what came after the last save is lost",
    }
    assert [path.name for path in sorted(Path("run/checkpoints").glob("iteration-*"))] == ["iteration-00000002.pt"]
    assert not list(Path("run").rglob(".tmp-*"))
    assert runs.train("--resume", "run") == 0
    assert runs.same("straight", "run")


def test_a_second_sigterm_changes_nothing(runs, monkeypatch):
    assert runs.train("--output", "straight") == 0
    with monkeypatch.context() as patch:
        in_save(patch, 4, signal.SIGTERM, signal.SIGTERM)
        assert runs.train("--output", "run") == 143
    assert runs.payload("run")["iteration"] == 4
    assert runs.train("--resume", "run") == 0
    assert runs.same("straight", "run")

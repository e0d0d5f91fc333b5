import os
import signal
import time

import pytest

from ignition.drill.child import Child, Lost


def test_it_ends_with_its_code_and_what_it_said(tmp_path):
    def work():
        os.write(1, b"resumed at iteration 6\nand done\n")
        return 3

    ended = Child(work, tmp_path / "log").wait(30)
    assert (ended.code, ended.resumed_at, ended.last_words) == (3, 6, "and done")


def test_an_error_and_a_signal_are_ends_as_well(tmp_path):
    def fail():
        raise ValueError("a mistake")

    ended = Child(fail, tmp_path / "log").wait(30)
    assert (ended.code, ended.last_words, ended.resumed_at) == (1, "ValueError: a mistake", None)
    assert Child(lambda: os.kill(os.getpid(), signal.SIGKILL), tmp_path / "log").wait(30).code == -9


def test_one_that_hangs_is_killed_with_what_it_began(tmp_path):
    def hang():
        if os.fork() == 0:
            (tmp_path / "grandchild").write_text(str(os.getpid()))
        time.sleep(60)

    child = Child(hang, tmp_path / "log")
    assert child.wait(30, until=(tmp_path / "grandchild").exists) is None
    with pytest.raises(Lost, match="it hung: nothing came of it in 0.1 s"):
        child.wait(0.1)
    assert child.kill().code == -signal.SIGKILL
    grandchild = int((tmp_path / "grandchild").read_text() or 0)
    end = time.monotonic() + 10
    while is_alive(grandchild) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(grandchild)


def is_alive(pid):
    """Zombies, which nobody has asked for yet, are none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

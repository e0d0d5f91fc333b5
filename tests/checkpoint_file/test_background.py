import logging
import subprocess
import sys
import threading

import pytest

from ignition.checkpoint_file import Background


def test_a_job_is_done_beside_the_loop_and_asked_for_later():
    gate, background = threading.Event(), Background("test")
    background.start(lambda: gate.wait(10) and threading.current_thread().name)
    gate.set()
    assert background.result() == "test"
    assert background.result() is None  # it is told once


def test_the_next_job_waits_for_the_one_before():
    done, gate, background = [], threading.Event(), Background("test")
    background.start(lambda: gate.wait(10) and done.append(1))
    threading.Timer(0.01, gate.set).start()
    background.start(lambda: done.append(2))
    background.wait()
    assert done == [1, 2]


def test_an_error_is_logged_at_once_and_raised_when_asked_for(caplog):
    background = Background("summing up")
    background.start(lambda: 1 / 0)
    background.wait()
    with caplog.at_level(logging.ERROR):
        assert "summing up ended with an error" in caplog.text and "ZeroDivisionError" in caplog.text
    with pytest.raises(ZeroDivisionError):
        background.result()
    assert background.result() is None


def test_where_no_thread_can_be_started_it_is_done_at_once(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    background = Background("test")
    background.start(lambda: threading.current_thread().name)
    assert background.result() == "MainThread"


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError"])
def test_the_interpreter_ends_after_it(end):
    program = f"""
import sys, threading
from ignition.checkpoint_file.background import Background
gate = threading.Event()
Background("test").start(lambda: (gate.wait(10), print("done")))
threading.Timer(0.05, gate.set).start()
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n"

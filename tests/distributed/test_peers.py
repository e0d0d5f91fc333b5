"""Processes that hear at once who of them is gone."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ignition.distributed.peers import Lost

ROOT = Path(__file__).resolve().parents[2]

# Process 0's place travels through a file: no torch is needed to know who is there.
PROGRAM = """
import json, logging, os, sys, threading, time
from pathlib import Path
from ignition.distributed.peers import Peers

logging.basicConfig(format="%(message)s")
rank, file, how, grace = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])

def from_first(value):
    if rank == 0:
        file.with_suffix(".new").write_text(json.dumps(value))
        file.with_suffix(".new").replace(file)
        return value
    while not file.exists():
        time.sleep(0.01)
    return json.loads(file.read_text())

peers = Peers(rank, 3, from_first, grace_seconds=grace)
print("up", flush=True)
if how == "fork":  # as a loader does: its worker lives on when this process is killed
    if not os.fork():
        time.sleep(30)
        os._exit(0)
    how = "wait"
if how == "wait":
    lost = peers.lost(wait_seconds=30)
    print(json.dumps(lost), flush=True)
elif how == "fail":
    sys.stdin.readline()
    peers.say_end("ValueError: no such picture")
elif how == "hang":
    threading.Event().wait(30)
elif how == "end":
    sys.stdin.readline()
peers.close()
"""


@pytest.fixture
def three(tmp_path):
    """Start three processes, each to do what is said; wait until all are connected."""
    started = []

    def start(*ways, grace=20.0):
        common = {**os.environ, "PYTHONPATH": str(ROOT), "LOCAL_WORLD_SIZE": "3", "WORLD_SIZE": "3"}
        for rank, way in enumerate(ways):
            words = [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "place"), way, str(grace)]
            started.append(
                subprocess.Popen(
                    words,
                    env=common,
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            )
        for process in started:
            assert process.stdout.readline() == "up\n"
        time.sleep(1.0)  # for process 0 to know who has come
        return started

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_all_others_hear_which_one_was_killed(three, victim):
    processes = three("wait", "wait", "wait")
    processes[victim].kill()
    for rank, process in enumerate(processes):
        said, _ = process.communicate(timeout=20)
        if rank != victim:
            name, pid, *_, why = Lost(*json.loads(said))
            assert (name, pid, why) == (victim, processes[victim].pid, "is gone: it was killed, or it crashed")


def test_a_worker_that_outlives_its_process_does_not_hide_the_death(three):
    processes = three("wait", "fork", "wait")
    processes[1].kill()
    assert json.loads(processes[2].communicate(timeout=20)[0])[0] == 1


def test_a_process_that_fails_says_why_and_one_that_ends_well_is_no_news(three):
    processes = three("wait", "end", "fail")
    processes[1].communicate("\n", timeout=20)
    processes[2].communicate("\n", timeout=20)
    rank, *_, why = json.loads(processes[0].communicate(timeout=20)[0])
    assert (rank, why) == (2, "failed: ValueError: no such picture")


def test_who_still_waits_for_one_that_is_gone_ends_itself(three):
    processes = three("hang", "wait", "hang", grace=0.5)
    processes[1].kill()
    for rank in (0, 2):
        _, errors = processes[rank].communicate(timeout=20)
        assert processes[rank].returncode == 1
        assert f"process 1 (pid {processes[1].pid} on {socket.gethostname()}) is gone" in errors
        assert "this process still waits for it: it ends here" in errors


def test_a_stranger_at_the_door_is_not_listened_to(three, tmp_path):
    processes = three("wait", "wait", "wait")
    port, _ = json.loads((tmp_path / "place").read_text())
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b'{"token": "guessed", "rank": 1, "pid": 1, "host": "here"}\n')
        assert stranger.recv(100) == b""  # shown the door
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    processes[2].kill()
    assert json.loads(processes[0].communicate(timeout=20)[0])[0] == 2  # the first news there was

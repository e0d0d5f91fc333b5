import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """In place of the module ``time``: a monotonic clock that runs only when told, and a wall clock that is set."""

    def __init__(self):
        self.now, self.wall = 5000.0, 1.7e9

    def monotonic(self):
        return self.now

    def time(self):
        return self.wall

    def sleep(self, seconds):
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def told_time():
    return Clock()


@pytest.fixture
def two_processes(tmp_path):
    """Run a program as the two processes of one run, as torchrun would; what each of them wrote to standard output."""

    def run(program, timeout_seconds=90):
        script = tmp_path / "program.py"
        script.write_text(program)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        }  # fmt: skip
        processes = [
            subprocess.Popen(
                [sys.executable, str(script)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]  # fmt: skip
        try:
            answers = [process.communicate(timeout=timeout_seconds) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, (_, errors) in zip(processes, answers, strict=True):
            assert process.returncode == 0, errors
        return [output for output, _ in answers]

    return run

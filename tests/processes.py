"""Programs in processes of their own, as a user starts them: with this checkout, and one thread each."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def python(*words, processes=0):
    """The command that starts ``python WORD...``: once, or by torchrun that often."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    return [sys.executable, *launcher, *map(str, words)]


def completed(*words, processes=0, timeout_seconds=120):
    """`python`'s command run to its end: the exit code, and what was said."""
    command = python(*words, processes=processes)
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout_seconds)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ranks(*words, timeout_seconds=90):
    """What each of two processes of ``python WORD...`` wrote, started as torchrun starts the two of a run."""
    common = environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE="2")
    processes = [
        subprocess.Popen(
            python(*words), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
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

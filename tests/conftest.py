"""What takes minutes runs when it is asked for by name: ``-m soak``; and Ctrl-C is heard."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_run import RECIPE

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    """A shell starts what it puts in the background deaf to Ctrl-C, and all processes that tests start would be so."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked ``soak``, unless the marker expression names it.

    Not ``addopts = -m "not soak"``: a person's ``-m "not gpu"`` would take its place, and start an hour's work.
    """
    if re.search(r"\bsoak\b", config.getoption("markexpr")):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(autouse=True)
def _signals_as_before():
    """What a test leaves listening hears nothing in the next one."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The file of the tiny regression, in a working directory of its own."""
    path = tmp_path / "tiny_vectors.py"
    path.write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("tiny_vectors", None)
    yield path
    sys.modules.pop("tiny_vectors", None)


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

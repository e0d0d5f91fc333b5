"""What takes minutes runs when it is asked for by name: ``-m soak``; and Ctrl-C is heard."""

import re
import signal
import sys

import pytest

from tests.processes import ranks
from tests.tiny_run import RECIPE


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
def write_recipe(tmp_path, monkeypatch):
    """Write a recipe's file into a folder of its own, which becomes the working one; nothing of it stays loaded."""
    names = []

    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop(name, None)
        names.append(name)
        return path

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def recipe(write_recipe):
    """The file of the tiny regression."""
    return write_recipe("tiny_vectors", RECIPE)


@pytest.fixture
def two_processes(tmp_path):
    """Run a program as the two processes of one run; what each of them wrote to standard output."""

    def run(program, timeout_seconds=90):
        script = tmp_path / "program.py"
        script.write_text(program)
        return ranks(script, timeout_seconds=timeout_seconds)

    return run

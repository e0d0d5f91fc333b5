"""The recipe `faulty`, in a folder of its own."""

from pathlib import Path

import pytest


@pytest.fixture
def recipe(write_recipe):
    return write_recipe("faulty", (Path(__file__).parent / "faulty.py").read_text())

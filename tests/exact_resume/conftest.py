"""The recipe `faulty`, in a folder of its own."""

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    path = tmp_path / "faulty.py"
    shutil.copy(Path(__file__).parent / "faulty.py", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("faulty", None)
    yield path
    sys.modules.pop("faulty", None)

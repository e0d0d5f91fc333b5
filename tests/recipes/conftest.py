import pytest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Runs are written to ./runs: each test stands in a folder of its own."""
    monkeypatch.chdir(tmp_path)

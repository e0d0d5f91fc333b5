"""The code on docs/from_ignite.md is run: each section by itself, after the page's first block."""

import re
from pathlib import Path

import ignite.handlers
import pytest

from ignition import handlers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from_ignite.md"
HEAD, *SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
BY_NAME = {text.partition("\n")[0].removeprefix("ignite's "): text for text in SECTIONS}


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sections_code_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for variable in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):  # nobody's key, nothing left behind
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    namespace = {"__name__": "page"}
    assert blocks(BY_NAME[name])
    for block in [*blocks(HEAD), *blocks(BY_NAME[name])]:
        exec(compile(block, f"{PAGE.name}, {name}", "exec"), namespace)


def rows():
    """What stands in the table: ignite's names, ours."""
    cells = re.findall(r"^\| (`.*) \| (.*) \|$", HEAD, flags=re.MULTILINE)
    return [(re.findall(r"`(\w+)`", theirs), re.findall(r"`(\w+)`", ours)) for theirs, ours in cells]


def test_the_table_has_every_name_that_ignites_handlers_export():
    named = {name for theirs, _ in rows() for name in theirs}
    assert set(ignite.handlers.__all__) == named - {"DeterministicEngine"}


def test_what_the_table_names_in_its_place_is_ours():
    ours = {name for _, names in rows() for name in names}
    assert ours <= {*handlers.__all__, "Loader", "BatchSampler", "IterationSeed"}


def test_every_section_is_about_a_name_in_the_table():
    named = {name for theirs, _ in rows() for name in theirs}
    assert set(BY_NAME) <= named

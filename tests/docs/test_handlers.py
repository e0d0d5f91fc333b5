"""The code on docs/handlers.md is run: each section by itself, after the page's first block."""

import inspect
import re
from pathlib import Path

import pytest

from ignition import handlers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "handlers.md"
HEAD, *SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
BY_NAME = {text.partition("\n")[0]: text for text in SECTIONS}


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sections_code_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in [*blocks(HEAD), *blocks(BY_NAME[name])]:
        exec(compile(block, f"{PAGE.name}, {name}", "exec"), namespace)


def test_every_handler_has_a_section_with_three_settings():
    public = {
        name for name in handlers.__all__
        if inspect.isclass(getattr(handlers, name)) and hasattr(getattr(handlers, name), "attach")
    }  # fmt: skip
    assert public <= set(BY_NAME) <= set(handlers.__all__)
    assert {name: len(blocks(text)) for name, text in BY_NAME.items()} == dict.fromkeys(BY_NAME, 3)

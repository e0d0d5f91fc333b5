from pathlib import Path

from ignition.config import Config
from ignition.config.description import describe, table
from ignition.config.layout import Layout, fields_by_key
from ignition.config.sections import EarlyStop

PAGE = Path(__file__).resolve().parents[2] / "docs" / "config.md"


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text(encoding="utf-8") == describe(), "write it anew: make docs"


def test_every_key_of_every_section_has_a_row_and_a_meaning():
    page = describe()
    for slot in Layout.of(Config).slots.values():
        for cls in slot.classes:
            for key, info in fields_by_key(cls).items():
                if key == slot.chooser:
                    assert f"### `{key}: {info.default}`" in page
                elif slot.path[:1] != ("loss",):
                    assert f"| `{key}` |" in page
                    assert info.description or cls is Config


def test_a_row_gives_limits_default_and_meaning():
    assert "| `patience` | whole number ≥ 1 | `10` | how long an improvement is waited for |" in table(EarlyStop).split(
        "\n"
    )


def test_a_section_that_holds_its_like_is_told_once():
    page = describe()
    assert page.count("### `name: sequence`") == 1
    assert [line for line in page.split("\n") if line.startswith("## `schedule")] == [
        "## `schedule`",
        "## `schedule.parts[...]`",
    ]

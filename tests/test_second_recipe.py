"""The engine knows no task: a recipe for data of another kind, straight out of the documentation."""

import json
import re
from pathlib import Path

import pytest

from ignition.run import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    text = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    path = tmp_path / "vectors.py"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return path


def train(recipe, *settings):
    return main([str(recipe), "trainer.threads=1", "optimizer.lr=0.01", "logging.tensorboard=false", *settings])


def test_the_page_s_recipe_learns_the_rule(recipe, capsys):
    assert train(recipe, "trainer.epochs=15") == 0
    run = recipe.parent / "runs" / "vectors" / "vectors-001"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [row["val/mae"] for row in rows if "val/mae" in row]
    assert len(errors) == 15
    assert errors[-1] < 0.12 < 0.5 < errors[0]  # the noise alone leaves 0.08
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    out = capsys.readouterr().out
    assert "mae" in out
    assert "runs/vectors/vectors-001" in out.replace("\n", "")


def test_its_settings_are_checked_like_any_other(recipe, capsys):
    assert train(recipe, "recipe.widht=3") == 2
    assert "unknown key 'recipe.widht'. Did you mean 'width'?" in capsys.readouterr().err


def test_it_is_no_longer_than_a_page(recipe):
    assert len([line for line in recipe.read_text().splitlines() if line.strip()]) <= 35

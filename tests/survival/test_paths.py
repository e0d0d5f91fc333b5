"""Where a run may lie, what its parts may be called, and what a config may hold."""

import os
from pathlib import Path

import pytest

from ignition.run import main

LONG = "/".join(["a-rather-long-name-of-a-folder-of-which-there-are-many"] * 30)  # 1600 characters


@pytest.mark.parametrize("place", ["päth with späces/läuf", "./a/../run", "~/run", "link/run", LONG])
def test_a_run_may_lie_anywhere_and_the_working_directory_may_change_meanwhile(runs, monkeypatch, tmp_path, place):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("real").mkdir()
    Path("link").symlink_to("real")
    Path("a").mkdir()
    there = Path(place).expanduser().absolute()
    assert runs.train("--output", place, "recipe.move_at=3", "logging.tensorboard=true") == 0
    assert Path.cwd() == Path("/")
    monkeypatch.chdir(tmp_path)
    assert runs.payload(there)["iteration"] == 12
    assert len(runs.rows(there)) > 12 and len(list(there.glob("events.*"))) == 1
    assert len(list((there / "pictures").iterdir())) == 4
    assert runs.train("--resume", place, "trainer.epochs=3") == 0
    assert runs.payload(there)["iteration"] == 18


def test_a_path_that_is_too_long_is_told(runs, capsys):
    assert runs.train("--output", "x" * 300) == 2
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../../x", "..\\x", "x\n\x00y"])
def test_a_picture_keeps_to_its_folder_whatever_a_recipe_calls_it(runs, name, tmp_path):
    before = set(tmp_path.iterdir())
    runs.recipe.write_text(runs.recipe.read_text().replace('picture: str = "noise"', f"picture: str = {name!r}"))
    assert runs.train("--output", "run", "trainer.epochs=1", "logging.tensorboard=true") == 0
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "run", tmp_path / "__pycache__"}
    pictures = list((tmp_path / "run/pictures").iterdir())
    assert len(pictures) == 2 and all(path.name.startswith("epoch-0001-") for path in pictures)


@pytest.mark.parametrize("config", ["../../x.yaml", "..yaml", "a b.yaml"])
def test_the_name_of_a_config_becomes_a_folder_of_that_name_or_none(runs, config, tmp_path, monkeypatch, capsys):
    inside = tmp_path / "deep/er"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    Path(config).write_text("trainer: {epochs: 1}\n")
    code = runs.train("--config", config)
    assert code == (0 if config == "../../x.yaml" else 2)
    made = [path.relative_to(inside) for path in inside.rglob("*-001")]
    assert made == ([Path("runs/few_numbers/x-001")] if code == 0 else [])
    assert code == 0 or "cannot be a folder's name" in capsys.readouterr().err


def test_a_task_that_leads_elsewhere_is_another_task(runs, capsys):
    assert runs.train("task=../../x") == 2
    assert "task" in capsys.readouterr().err and not Path("runs").exists()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(("text", "told"), [
    ("trainer:\n\tepochs: 1\n", ":2:1: a tab; YAML is indented with spaces"),
    ("trainer: {epocs: 1}\n", ":1:11: unknown key 'trainer.epocs'. Did you mean 'epochs'?"),
    ("trainer: {epochs: 1}\ntrainer: {epochs: 2}\n", ":2:1: duplicate key 'trainer', first given in line 1"),
    ("trainer: {epochs: on}\n", ":1:11: trainer.epochs: expected a whole number, found text 'on'"),
    ("trainer: {epochs: 0}\n", ":1:11: trainer.epochs: expected a number of at least 1, found 0"),
    ("optimizer: {lr: fast}\n", ":1:13: optimizer.lr: expected a number, found text 'fast'"),
    ("optimizer: {lr: -1e-4}\n", ":1:13: optimizer.lr: expected a number greater than 0, found -0.0001"),
    ("logging: {tensorboard: on}\n", ":1:11: logging.tensorboard: expected true or false, found text 'on'; write true"),
    ("recipe: !!python/object/apply:os.mkdir [code-has-run]\n", "tag '!!python/object/apply:os.mkdir' is refused"),
    ("recipe: &x [*x]\n", "an alias that contains itself"),
    (BOMB, "more than"),
], ids=["tab", "typo", "twice", "on", "range", "type", "negative", "bool", "code", "recursion", "bomb"])  # fmt: skip
def test_a_bad_config_is_told_with_its_place_and_nothing_is_made(runs, capsys, text, told):
    Path("bad.yaml").write_text(text)
    there = set(os.listdir())
    assert main([str(runs.recipe), "--config", "bad.yaml"]) == 2
    error = capsys.readouterr().err
    assert told in error and "bad.yaml" in error and "Traceback" not in error
    assert set(os.listdir()) - {"__pycache__"} == there - {"__pycache__"}

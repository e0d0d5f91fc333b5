"""The command, and what a run says and keeps of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ignition.review.__main__ import main
from ignition.run import main as run
from ignition.rundir import RunFolder

ROOT = Path(__file__).resolve().parents[2]
RECIPE = re.search(r"^```python\n(.*?)^```", (ROOT / "docs" / "recipes.md").read_text(), re.MULTILINE | re.DOTALL)[1]
OWN = """
    def objections(self, config):
        if self.settings.noise > 1:
            yield {"name": "loud", "key": "recipe.noise", "message": f"recipe.noise is {self.settings.noise:g}",
                   "why": "nothing is heard", "advice": [{"override": "recipe.noise=0.1", "why": "quiet"}]}
"""
SMALL = ["trainer.epochs=2", "logging.tensorboard=false", "logging.progress=false"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a recipe and its config, as a user's project has it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "recipes" / "vectors.py").write_text(RECIPE + OWN)
    (tmp_path / "configs" / "vectors.yaml").write_text(
        "task: vectors\nrecipe:\n  noise: 2.0\ntrainer:\n  epochs: 5\n  evaluate_every: 9\n"
    )
    return tmp_path


def test_it_tells_what_where_why_and_what_to_do(capsys):
    assert main(["configs/vectors.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "configs/vectors.yaml:3:3: recipe.noise is 2 [loud]",
        "    nothing is heard",
        "    try: recipe.noise=0.1 (quiet)",
        "configs/vectors.yaml:6:3: an evaluation is due every 9 epochs, and the run has 5 [never_due]",
        "    there is one at the very end, when nothing can be chosen or stopped by it; it counts epochs, not steps",
        "    try: trainer.evaluate_every=1 (one after each epoch)",
        "configs/vectors.yaml: 2 objections",
    ]


def test_strict_ends_with_one_until_what_is_advised_is_done(capsys):
    assert main(["configs/vectors.yaml", "--strict"]) == 1
    assert main(["configs/vectors.yaml", "--strict", "recipe.noise=0.1", "trainer.evaluate_every=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "configs/vectors.yaml: no objections"


def test_json_is_one_object(capsys):
    assert main(["configs/vectors.yaml", "--json", "trainer.evaluate_every=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["config"], told["recipe"], told["unknown"]) == ("configs/vectors.yaml", "recipes/vectors.py", [])
    assert told["objections"] == [
        {
            "name": "loud", "key": "recipe.noise", "message": "recipe.noise is 2", "why": "nothing is heard",
            "source": "", "advice": [{"override": "recipe.noise=0.1", "why": "quiet"}],
            "place": "configs/vectors.yaml:3:3",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.yaml"], "none.yaml: no such config file"),
        (["configs/vectors.yaml", "recipe.noise=-1"], "recipe.noise=-1: expected a number of at least 0, found -1"),
        (["configs/vectors.yaml", "trainer.epocs=3"], "Did you mean 'epochs'?"),
        (["configs/vectors.yaml", "--recipe", "none.py"], "none.py: no such recipe file"),
        (["recipes/vectors.py"], "recipes/vectors.py is a recipe: name its config"),
        (["configs"], "configs is no run folder"),
        (
            ["configs/vectors.yaml", "schedule={name: cosine, warmup_epochs: 500}"],
            "less than trainer.epochs (5), found 500: it counts epochs, not steps",
        ),
    ],
)
def test_what_cannot_be_reviewed_is_told_with_code_2(words, message, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_without_a_recipe_its_own_rules_are_not_asked_and_torch_is_not_loaded(place):
    (place / "lonely.yaml").write_text("trainer: {epochs: 5, evaluate_every: 9}\n")
    code = (
        "import sys; from ignition.review.__main__ import main\n"
        "assert main(['lonely.yaml', '--strict']) == 1\n"
        "assert not {'torch', 'ignite', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=place,
                          env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lonely.yaml:1:22: an evaluation is due" in done.stdout
    assert "not looked at: recipe: none" in done.stdout


def test_a_run_says_it_first_and_keeps_it(capsys):
    assert run(["recipes/vectors.py", *SMALL]) == 0
    told = capsys.readouterr().err
    assert "configs/vectors.yaml:3:3: recipe.noise is 2 [loud]" in told
    kept = RunFolder.open("runs/vectors/vectors-001")
    review = kept.read_review()
    assert [row["name"] for row in review["objections"]] == ["loud", "never_due"]
    assert (review["unknown"], (kept.path / "review.json").is_file()) == ([], True)

    assert main([str(kept.path), "--strict"]) == 1  # the run's own config and recipe
    assert f"{kept.config_path}:" in capsys.readouterr().out


def test_a_check_says_it_before_it_tries_anything(capsys):
    assert run(["recipes/vectors.py", "--check"]) == 0
    assert "configs/vectors.yaml:3:3: recipe.noise is 2 [loud]" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_can_be_quiet_and_keeps_it_all_the_same(capsys):
    assert run(["recipes/vectors.py", *SMALL, "review.tell=false"]) == 0
    assert "loud" not in capsys.readouterr().err
    names = [row["name"] for row in RunFolder.open("runs/vectors/vectors-001").read_review()["objections"]]
    assert names == ["loud", "never_due"]


def test_what_is_accepted_is_neither_told_nor_kept(capsys):
    assert run(["recipes/vectors.py", *SMALL, "review.accept=[loud, never_due]"]) == 0
    assert "[loud]" not in capsys.readouterr().err
    assert RunFolder.open("runs/vectors/vectors-001").read_review()["objections"] == []


def test_a_review_that_fails_ends_no_run(place, capsys):
    (place / "recipes" / "vectors.py").write_text(
        RECIPE + "\n    def objections(self, config):\n        return 1 / 0\n"
    )
    assert run(["recipes/vectors.py", *SMALL]) == 0
    told = capsys.readouterr().err
    assert "the settings are not reviewed: " in told
    assert "ZeroDivisionError" in told


def test_a_resumed_run_is_reviewed_with_what_has_changed(capsys):
    assert run(["recipes/vectors.py", *SMALL, "recipe.noise=0.1"]) == 0
    assert run(["recipes/vectors.py", "--resume", "trainer.epochs=12", "optimizer.lr=0.05"]) == 0
    review = RunFolder.open("runs/vectors/vectors-001").read_review()
    assert [(row["name"], row["place"]) for row in review["objections"]] == [
        ("rate_too_high", "command line: optimizer.lr=0.05")
    ]

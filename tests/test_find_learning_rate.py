"""``--find-lr``: what it says, what it leaves, and how it ends."""

import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ignition.config import load_config
from ignition.find_learning_rate import _judge, _override
from ignition.learning_rate_curve import LearningRateCurve
from ignition.run import main
from tests.processes import completed, environment, python

RECIPE = '''
"""A tiny regression."""

import time

import torch
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Section, Splits


class Vectors(Dataset):
    def __init__(self, count, seed, broken=-1):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        self.broken = broken

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"/data/{index}.png: truncated")
        return {"x": self.x[index], "y": self.x[index].sum(0, keepdim=True)}


class Recipe:
    class Settings(Section):
        slow: float = 0.0
        broken: int = -1
        constant: bool = False

    def __init__(self, settings, data):
        self.settings, self.data = settings, data

    def datasets(self):
        return Splits(train=Vectors(40, 1, self.settings.broken), val=lambda: Vectors(7, 2))

    def model(self):
        return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))

    def losses(self, model, batch, progress):
        if self.settings.slow:
            print("step", flush=True)
        time.sleep(self.settings.slow)
        loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        return {"square": loss * 0 + 1 if self.settings.constant else loss}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {}
'''
COMMON = ["data.batch_size=8", "optimizer.lr=0.02", "trainer.threads=1"]


@pytest.fixture
def recipe(write_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    return write_recipe("tiny_search", RECIPE)


def find(recipe, *words):
    return main([str(recipe), "--find-lr", *COMMON, *words])


def left():
    """All that is there but the recipe."""
    return sorted(str(path) for path in Path(".").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def suggestion(out):
    return shlex.split(re.search(r"^take it by: (.*)$", out, re.MULTILINE).group(1))


def test_it_tells_rates_draws_them_and_says_what_to_paste(recipe, capsys):
    assert find(recipe) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert said.err == "trying 100 learning rates on 100 batches\n"
    assert re.match(r"\d+ steps in \d+ s: the loss rose to more than 4 times its lowest", lines[0])
    names = [line.split("  ")[0] for line in lines if line.startswith(("steep", "valley", "lowest", "div", "in the"))]
    assert names == ["steepest fall", "valley, two thirds down", "lowest loss", "diverged", "in the config"]
    assert "picture: learning_rate.png" in lines
    assert left() == ["learning_rate.png"]
    (override,) = suggestion(said.out)
    assert 1e-4 < float(override.removeprefix("optimizer.lr=")) < 0.5
    assert main([str(recipe), *COMMON, override, "trainer.epochs=1", "logging.tensorboard=false"]) == 0


def test_the_schedule_is_ignored_and_the_same_config_finds_the_same(recipe, capsys):
    tables = []
    for schedule in ("constant", "one_cycle", "{name: cosine, warmup_epochs: 2, warmup_start_factor: 0}"):
        name = f"schedule={schedule}" if "{" in schedule else f"schedule.name={schedule}"
        assert find(recipe, name) == 0
        tables.append(capsys.readouterr().out.splitlines()[1:])
    assert tables[0] == tables[1] == tables[2]


def test_the_clipping_is_not_ignored(recipe, capsys):
    rates = []
    for clip in ("clip.kind=none", "clip={kind: norm, max_norm: 0.1}"):
        assert find(recipe, "optimizer.name=SGD", clip) == 0
        rates.append(float(suggestion(capsys.readouterr().out)[0].removeprefix("optimizer.lr=")))
    assert rates[1] > 2 * rates[0]  # steps that are shorter may have a higher rate


def test_single_groups_keep_their_ratio_in_what_is_to_be_pasted(recipe, capsys):
    groups = "optimizer.groups=[{pattern: '^0', lr: 0.2}, {pattern: '^3.bias', weight_decay: 0.1}]"
    assert find(recipe, groups, "optimizer.weight_decay=0.01") == 0
    out = capsys.readouterr().out
    overrides = suggestion(out)
    config = load_config(None, overrides=overrides)
    first, second = config.optimizer.groups
    assert first.lr / config.optimizer.lr == pytest.approx(10, rel=0.05)
    assert (first.pattern, second.pattern, second.lr, second.weight_decay) == ("^0", "^3.bias", None, 0.1)
    assert re.search(r"^in the config +0.02 ", out, re.MULTILINE)  # optimizer.lr, though the curve is over the highest
    assert main([str(recipe), *COMMON, *overrides, "trainer.epochs=1", "logging.tensorboard=false"]) == 0


def test_accumulated_batches_are_one_step(recipe, capsys):
    assert find(recipe, "trainer.accumulate=2") == 0
    assert "on 200 batches" in capsys.readouterr().err


def test_losses_that_suggest_nothing_are_a_failure_with_a_reason(recipe, capsys):
    assert find(recipe, "recipe.constant=true") == 1
    out = capsys.readouterr().out
    assert "no suggestion: the loss never falls; it begins with 1" in out
    assert "take it by" not in out
    assert left() == ["learning_rate.png"]


def test_the_picture_goes_where_it_is_asked_to(recipe, capsys):
    assert find(recipe, "--output", "pictures/of/rates") == 0
    assert "picture: pictures/of/rates/learning_rate.png" in capsys.readouterr().out
    assert left() == ["pictures/of/rates/learning_rate.png"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--output", "tiny_search.py"], 2, "tiny_search.py/learning_rate.png: the picture cannot be written there: "),
        (["--output", "taken"], 2, "taken/learning_rate.png: the picture cannot be written there: Is a directory"),
        (["optimizer.rate=1"], 2, "unknown key 'optimizer.rate'"),
        (["optimizer.name=Adamm"], 2, "torch.optim has no 'Adamm'. Did you mean 'Adam'?"),
        (["trainer.device=cuda:99"], 2, "trainer.device: cannot compute on 'cuda:99'"),
        (["recipe.broken=5"], 1, "sample 5 of the train data: /data/5.png: truncated"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(recipe, capsys, words, code, message):
    Path("taken/learning_rate.png").mkdir(parents=True)
    assert find(recipe, *words) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert left() == []


@pytest.mark.parametrize("word", ["--resume", "--check"])
def test_it_is_one_thing_to_do_among_others(recipe, capsys, word):
    with pytest.raises(SystemExit) as end:
        find(recipe, word)
    assert end.value.code == 2
    assert f"--find-lr and {word} are different things to do" in capsys.readouterr().err


def command(recipe, *words):
    return ["-m", "ignition.run", recipe, "--find-lr", *COMMON, *words]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_nothing_is_left(recipe, number, code):
    process = subprocess.Popen(python(*command(recipe, "recipe.slow=0.2")), env=environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "step\n"
    process.send_signal(number)
    began = time.monotonic()
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert time.monotonic() - began < 15  # all steps would take 20 s
    assert "Traceback" not in errors
    assert "take it by" not in out
    assert left() == []
    assert list(Path("scratch").iterdir()) == []


def test_of_two_processes_one_speaks(recipe):
    done = completed(*command(recipe), processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("take it by: optimizer.lr=") == 1
    assert done.stderr.count("trying 100 learning rates") == 1
    assert left() == ["learning_rate.png"]


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1e-2, "right"), (2.5e-2, "right"), (4e-3, "right"), (8e-2, "high: 8 times the valley's"),
     (1e-3, "low: 1/10 of the valley's"), (0.2, "too high: the loss rises by then"),
     (2.0, "much too high: the loss has diverged by then")],
)  # fmt: skip
def test_a_rate_is_judged_by_the_curve(rate, words):
    curve = LearningRateCurve([], [], [], "", lowest=0.1, diverged=1.0, steepest=5e-3, valley=1e-2)
    assert _judge(curve, rate) == words
    assert _judge(LearningRateCurve([], [], [], ""), rate) == ""


def test_an_override_is_one_word_for_the_shell():
    config = load_config(None, overrides=["optimizer.lr=2e-3", 'optimizer.groups=[{pattern: "it\'s", lr: 1e-5}]'])
    again = load_config(None, overrides=shlex.split(_override(config, 0.5)))
    assert again.optimizer.lr == 1e-3
    assert again.optimizer.groups[0].model_dump() == {"pattern": "it's", "lr": 5e-6, "weight_decay": None}

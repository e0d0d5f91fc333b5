"""Faults come where they are asked for, and nowhere else."""

import json
import math
from pathlib import Path

import pytest
import torch

from ignition.drill import main
from ignition.drill.training_faults import Fault, FaultError

RECIPE = """
import torch
from ignite.metrics import MeanAbsoluteError
from torch import nn

from ignition.recipe import Section, Splits

SEEN = []


class Recipe:
    class Settings(Section):
        pass

    def __init__(self, settings, data):
        pass

    def datasets(self):
        x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        samples = [{"x": row, "target": row.sum(0, keepdim=True)} for row in x]
        return Splits(train=samples, val=samples[:8])

    def model(self):
        return nn.Linear(4, 1)

    def losses(self, model, batch, progress):
        SEEN.append((model.training, progress.iteration, batch))
        outputs = model(batch["x"])
        return {"square": nn.functional.mse_loss(outputs, batch["target"]), "size": outputs.square().mean()}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["target"]))}
"""
WORDS = [
    "data.batch_size=4", "trainer.epochs=2", "trainer.threads=1", "logging.every=1", "logging.tensorboard=false",
    "logging.progress=false", "optimizer.lr=0.01", "schedule.name=constant", "loss={square: 1.0, size: 0.0}",
    "stability.watch=false", "--output", "run",
]  # fmt: skip


@pytest.fixture
def drill(tmp_path, monkeypatch):
    """Run a drill; the batches that the recipe's losses saw in training, by iteration, and the log."""
    (tmp_path / "plain_rows.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "plain_rows", raising=False)

    def drill(*words, code=0):
        assert main(["plain_rows.py", *WORDS, *words]) == code
        import plain_rows

        trained = {iteration: batch for training, iteration, batch in plain_rows.SEEN if training}
        evaluated = [batch for training, _, batch in plain_rows.SEEN if not training]
        rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
        return trained, evaluated, {row["iteration"]: row for row in rows if "train/batch_loss" in row}

    return drill


def test_one_sample_of_one_batch_is_nan(drill):
    trained, evaluated, rows = drill("--fault", "nan_batch", "--at", "0.25")
    assert [i for i, batch in trained.items() if batch["x"].isnan().any()] == [6]  # of 20
    assert trained[6]["x"].isnan().sum() == 4 and not trained[6]["target"].isnan().any()
    assert not any(batch["x"].isnan().any() for batch in evaluated)
    assert [i for i, row in rows.items() if row["train/batch_loss"] == "NaN"] == [6]


def test_labels_are_multiplied_for_as_many_batches_as_asked(drill):
    trained, _, _ = drill("--fault", "corrupt_labels", "--size", "1000", "--steps", "3", "--at", "0.5")
    assert [i for i, batch in trained.items() if batch["target"].abs().mean() > 100] == [11, 12, 13]


def test_the_rate_jumps_at_an_iteration_and_stays(drill):
    _, _, rows = drill("--fault", "rate_jump", "--at", "0.4", "--size", "10")
    assert [round(row["train/learning_rate"], 6) for row in rows.values()] == [0.01] * 8 + [0.1] * 12


def test_a_term_explodes_where_predictions_vary_less_than_usual(drill):
    _, _, rows = drill("--fault", "exploding_term", "--at", "0.5")
    values = [float(row["train/loss/drill"]) for row in rows.values()]
    assert values[:10] == [0.0] * 10
    assert all(value > 0 for value in values[10:]) and max(values[10:]) > 100
    evaluations = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["val/loss/drill"] for row in evaluations if "val/loss" in row] == [0.0, 0.0]


def test_a_term_that_explodes_comes_with_a_weight_where_all_count_one_as_well(drill):
    drill("--fault", "exploding_term", "loss={}", code=3)  # infinite in more steps in a row than are left out


def test_labels_that_nobody_can_guess_have_to_be_named(drill, capsys):
    path = Path("plain_rows.py")
    path.write_text(path.read_text().replace('"target"', '"y"'))
    drill("--fault", "corrupt_labels", code=2)
    assert "which are the labels? A batch has x, y: name one by --labels" in capsys.readouterr().err


def test_a_named_label_is_the_one(drill):
    trained, _, _ = drill("--fault", "corrupt_labels", "--labels", "x", "--size", "1e6", "--at", "0")
    assert trained[1]["x"].abs().max() > 1e5 and trained[1]["target"].abs().max() < 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "fire"}, "kind is"),
        ({"at": 1.0}, "at is 1.0"),
        ({"at": math.nan}, "at is nan"),
        ({"steps": 0}, "steps"),
    ],
)
def test_faults_that_are_none(arguments, words):
    with pytest.raises(FaultError, match=words):
        Fault(**{"kind": "nan_batch", **arguments})


def test_which_iterations():
    assert Fault("nan_batch").iterations(720) == range(289, 290)
    assert Fault("rate_jump").iterations(720) == range(289, 721)
    assert Fault("rate_jump", steps=10).iterations(720) == range(289, 299)
    assert torch.exp(torch.tensor(-100.0 * (1 / 9 - 1))).isinf()

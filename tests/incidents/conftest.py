import json
from pathlib import Path

import pytest

from ignition import replay
from ignition.run import main

# A linear rule from vectors, in 16 batches of 8 an epoch, and settings that spoil it.
RECIPE = """
import os

import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import Dataset

from ignition.handlers import Consensus
from ignition.recipe import Section, Splits

RULE = torch.tensor([1.0, -2.0, 0.5, 0.0])


class Vectors(Dataset):
    def __init__(self, count, seed, odd=-1, value=None, unreadable=0):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        self.odd, self.value = odd, float("nan") if value is None else value
        self.unreadable = unreadable

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if index < self.unreadable:
            raise OSError(f"/data/{index}.npy is gone")
        y = self.x[index] @ RULE
        noisy = self.x[index] + 0.01 * torch.randn(4)
        return {"x": noisy, "y": (y * 0 + self.value if index == self.odd else y)[None]}


class Recipe:
    class Settings(Section):
        odd: int = -1
        value: float | None = None  # NaN
        raise_rate_at: int = 0
        raise_rate_by: float = 1000.0
        ruin_at: int = 0
        outside_at: int = 0
        outside_for: int = 1
        norm: bool = False
        count: int = 128
        unreadable: int = 0

    def __init__(self, settings, data):
        self.settings, self.data = settings, data

    def datasets(self):
        s = self.settings
        return Splits(train=Vectors(s.count, 1, s.odd, s.value, s.unreadable), val=Vectors(8, 2))

    def model(self):
        middle = nn.BatchNorm1d(8) if self.settings.norm else nn.Dropout(0.1)
        return nn.Sequential(nn.Linear(4, 8), middle, nn.Linear(8, 1))

    def augmentation(self):
        return Noise()

    def losses(self, model, batch, progress):
        square = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        first, count = self.settings.outside_at, self.settings.outside_for
        if first <= progress.iteration < first + count and os.environ.get("FAULT"):
            square = square * float("nan")
        return {"square": square, "offset": 0.1 * (model(batch["x"]) - batch["y"]).mean().square()}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def handlers(self, training):
        settings = self.settings

        @training.trainer.on(Events.ITERATION_STARTED)
        @torch.no_grad()
        def spoil(engine):
            if settings.raise_rate_at and engine.state.iteration >= settings.raise_rate_at:
                for group in training.optimizer.param_groups:
                    group["lr"] = 0.003 * settings.raise_rate_by
            if engine.state.iteration == settings.ruin_at:
                for parameter in training.model.parameters():
                    parameter.mul_(30.0)


class Noise(nn.Module):
    def forward(self, batch):
        return {**batch, "x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}



"""
COMMON = [
    "data.batch_size=8", "optimizer.lr=0.003", "trainer.threads=1", "trainer.epochs=2", "logging.every=3",
    "logging.tensorboard=false", "logging.progress=false", "checkpoint.every_iterations=5", "checkpoint.keep=9",
]  # fmt: skip


@pytest.fixture
def recipe(write_recipe):
    """The recipe's file, in a folder that is the working one."""
    return write_recipe("odd_vectors", RECIPE)


@pytest.fixture
def train(recipe):
    """Train it with further settings into the folder ``run``; returns that folder."""

    def run(*settings, code=0):
        assert main([str(recipe), *COMMON, *settings, "--output", "run"]) == code
        return Path("run")

    return run


@pytest.fixture
def replayed(capsys):
    """What ``ignition.replay --json`` prints of an incident."""

    def run(*words):
        capsys.readouterr()
        assert replay.main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def content(folder):
    """Every file under a folder, byte for byte."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def incidents(run):
    return [json.loads(line) for line in (Path(run) / "incidents.jsonl").read_text().splitlines()]

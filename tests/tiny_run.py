"""A tiny regression that is run by its file, and what its runs leave behind."""

import json
import time
from pathlib import Path

import torch

from tests.processes import python

RECIPE = '''
"""A tiny regression with everything that could make a resume go wrong: dropout, noise in samples, augmentation."""

import os
import signal
import time

import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import Dataset

from ignition.handlers import Consensus
from ignition.recipe import Field, Section, Splits


class Vectors(Dataset):
    def __init__(self, count, shift, broken=-1, nan=-1):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(shift))
        self.broken = broken
        if nan >= 0:
            self.x[nan] = float("nan")

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"/data/{index}.png: truncated")
        x = self.x[index]
        return {"x": x + 0.01 * torch.randn(4), "y": x.sum(0, keepdim=True)}


class Noise(nn.Module):
    def forward(self, batch):
        return {**batch, "x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}


class Recipe:
    class Settings(Section):
        slow: float = 0.0
        broken: int = -1
        explode_at: int = 0
        signal_in: str = ""
        roll_back_at: int = 0
        roll_backs: int = 1
        corrupt_at: int = 0
        rate_at: int = 0
        burst_from: int = 0
        spike_at: int = 0
        nan_sample: int = -1

    def __init__(self, settings, data):
        self.settings, self.data = settings, data

    def datasets(self):
        test = (lambda: Vectors(5, 3)) if self.data.test else None
        train = Vectors(22, 1, self.settings.broken, self.settings.nan_sample)
        return Splits(train=train, val=lambda: Vectors(7, 2), test=test)

    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def augmentation(self):
        return Noise()

    def losses(self, model, batch, progress):
        time.sleep(self.settings.slow)
        loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        if self.settings.explode_at and progress.iteration >= self.settings.explode_at:
            loss = loss * float("nan")
        if self.settings.spike_at and model.training and progress.iteration == self.settings.spike_at:
            loss = loss * 1e4
        if not self.settings.burst_from:
            return {"square": loss}
        burst = model.training and progress.iteration >= self.settings.burst_from
        return {"square": loss, "spread": model(batch["x"]).square().mean() * (float("inf") if burst else 0.01)}

    def predict(self, model, batch):
        if self.settings.signal_in == "test" and len(batch["x"]) == 5:
            signal.raise_signal(signal.SIGTERM)
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def baseline(self, splits):
        def zero(model, batch):
            if self.settings.signal_in == "baseline":
                signal.raise_signal(signal.SIGTERM)
            return torch.zeros_like(batch["y"])

        return zero

    def handlers(self, training):
        if self.settings.corrupt_at:
            @training.trainer.on(Events.ITERATION_STARTED(once=self.settings.corrupt_at))
            @torch.no_grad()
            def corrupt(engine):
                for parameter in training.model.parameters():
                    parameter.mul_(20.0)

        if self.settings.rate_at:
            def jump(schedule):
                return lambda step: schedule(step) * (1000.0 if step >= self.settings.rate_at else 1.0)

            training.learning_rate.schedules = [jump(schedule) for schedule in training.learning_rate.schedules]

        if self.settings.roll_back_at:
            left = [self.settings.roll_backs]

            @training.trainer.on(Events.ITERATION_COMPLETED(once=self.settings.roll_back_at))
            def ask(engine):
                if left[0]:
                    left[0] -= 1
                    Consensus.of(engine).ask("rollback", "it looked odd")

    def pictures(self, batch, outputs):
        return {"noise": torch.rand(3, 4, 4)}

    def signals(self, batch, outputs):
        return {"spread": outputs.std()}
'''
COMMON = ["data.batch_size=4", "optimizer.lr=0.01", "trainer.threads=1", "logging.every=3", "logging.tensorboard=false"]


def command(recipe, *words, processes=0):
    return python("-m", "ignition.run", recipe, *COMMON, *words, processes=processes)


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def status(run):
    return json.loads((Path(run) / "status.json").read_text())


def weights(run, name="last.pt"):
    return torch.load(Path(run) / "checkpoints" / name, weights_only=True)["model"]


def same_weights(one, two):
    return all(torch.equal(one[name], two[name]) for name in one) and one.keys() == two.keys()


def numbers(run):
    """A run's rows without what may differ between two runs: the time of day, and how fast it was."""
    alike = [row for row in rows(run) if "train/step_ms_p50" not in row and "train/memory_gib" not in row]
    return [{key: value for key, value in row.items() if key != "time"} for row in alike]


def incidents(run):
    return [json.loads(line) for line in (Path(run) / "incidents.jsonl").read_text().splitlines()]


def until(condition, process, seconds=60):
    """Wait for ``condition`` while ``process`` lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.02)
    raise AssertionError("waited too long")

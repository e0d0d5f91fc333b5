"""A tiny regression that draws from every generator there is, can be interrupted, and has faults on request."""

import random
import signal

import numpy as np
import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import Dataset

from ignition.handlers import Consensus
from ignition.recipe import Section, Splits


class Interrupted(BaseException):
    """Nothing is saved for it, as for a kill."""


class Vectors(Dataset):
    def __init__(self, count, seed, fault=""):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        self.fault, self.count = fault, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.count += 1
        x = self.x[index] + 0.01 * torch.randn(4) + 0.01 * np.random.rand() + 0.01 * random.random()
        if self.fault == "counting dataset":
            x = x + 0.001 * self.count
        if self.fault == "unseeded dataset":
            x = x + float(np.random.default_rng().random())
        return {"x": x.float(), "y": x.float().sum(0, keepdim=True)}


class Noise(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1) if fault == "augmentation of its own" else None

    def forward(self, batch):
        x = batch["x"] + 0.01 * torch.randn(batch["x"].shape, generator=self.generator)
        return {**batch, "x": x * (0.99 + 0.01 * random.random() + 0.01 * float(np.random.rand()))}


class Network(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.register_buffer("drift", torch.zeros(1), persistent=fault != "buffer that is not saved")

    def forward(self, x):
        if self.training:
            self.drift.add_(0.001)
        return self.layers(x) + self.drift


class Error(MeanAbsoluteError):
    """Which, with a fault, goes on counting."""

    fault = False
    evaluations = 0

    def compute(self):
        self.evaluations += self.fault
        return super().compute() + self.evaluations


class Recipe:
    class Settings(Section):
        fault: str = ""
        interrupt_at: int = 0
        signal_at: int = 0
        signal: str = "SIGTERM"
        roll_back_at: int = 0

    def __init__(self, settings, data):
        self.settings, self.steps = settings, 0

    def datasets(self):
        return Splits(train=Vectors(22, 1, self.settings.fault), val=Vectors(6, 2))

    def model(self):
        return Network(self.settings.fault)

    def augmentation(self):
        return Noise(self.settings.fault)

    def losses(self, model, batch, progress):
        loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        self.steps += model.training
        if self.settings.fault == "counting losses":
            loss = loss * (1 + 0.01 * self.steps)
        return {"square": loss}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        metric = Error(output_transform=lambda output: (output[0], output[1]["y"]))
        metric.fault = self.settings.fault == "counting metric"
        return {"mae": metric}

    def handlers(self, training):
        trainer = training.trainer
        if self.settings.interrupt_at:

            @trainer.on(Events.ITERATION_COMPLETED(once=self.settings.interrupt_at))
            def interrupt(engine):
                raise Interrupted

        if self.settings.signal_at:

            @trainer.on(Events.ITERATION_STARTED(once=self.settings.signal_at))
            def ask(engine):
                signal.raise_signal(signal.Signals[self.settings.signal])

        if self.settings.roll_back_at:

            @trainer.on(Events.ITERATION_COMPLETED(once=self.settings.roll_back_at))
            def roll_back(engine):
                Consensus.of(engine).ask("rollback", "it looked odd")

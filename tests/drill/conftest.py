"""A recipe small enough to be drilled within seconds."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.processes import environment, python

RECIPE = """
import random

import torch
from ignite.metrics import MeanAbsoluteError
from torch import nn

from ignition.recipe import Section, Splits


class Recipe:
    class Settings(Section):
        whim: float = 0.0
        hang: bool = False

    def __init__(self, settings, data):
        self.settings = settings

    def datasets(self):
        x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
        samples = [{"x": row, "target": row.sum(0, keepdim=True)} for row in x]
        return Splits(train=samples, val=lambda: samples[:3])

    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))

    def losses(self, model, batch, progress):
        while self.settings.hang:
            pass
        loss = nn.functional.mse_loss(model(batch["x"]), batch["target"])
        return {"square": loss * (1 + self.settings.whim * random.SystemRandom().random())}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["target"]))}
"""


@pytest.fixture
def few_rows(tmp_path):
    path = tmp_path / "few_rows.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def temporary():
    """A place for temporary files whose name is short: sockets of loader workers have to lie there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def drill(few_rows, tmp_path, temporary):
    """Begin a drill of that recipe in a process of its own, with its own place for temporary files."""

    def drill(*words):
        command = python("-m", "ignition.drill", few_rows, *words)
        place = environment(TMPDIR=str(temporary), COLUMNS="200")
        return subprocess.Popen(command, cwd=tmp_path, env=place, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)  # fmt: skip

    return drill

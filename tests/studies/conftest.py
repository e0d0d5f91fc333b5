"""A recipe that learns a sum within a tenth of a second, and studies of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
import time

import torch
from ignite.metrics import MeanAbsoluteError
from torch import nn

from ignition.recipe import Section, Splits


def vectors(count, seed):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return [{"x": row, "y": row.sum(0, keepdim=True)} for row in x]


class Recipe:
    class Settings(Section):
        slow: float = 0.0
        width: int = 8
        weights: str = ""

    def __init__(self, settings, data):
        self.settings = settings

    def datasets(self):
        return Splits(train=vectors(16, 1), val=vectors(8, 2))

    def model(self):
        return nn.Sequential(nn.Linear(4, self.settings.width), nn.Dropout(0.1), nn.Linear(self.settings.width, 1))

    def losses(self, model, batch, progress):
        time.sleep(self.settings.slow)
        return {"square": nn.functional.mse_loss(model(batch["x"]), batch["y"])}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def baseline(self, splits):
        return lambda model, batch: torch.zeros_like(batch["y"])
"""

CONFIG = """\
task: tiny
data: {batch_size: 4}
trainer: {epochs: 3}
checkpoint: {metric: val/mae, every_iterations: 2}
logging: {every: 2, tensorboard: false, progress: false, pictures: 0}
"""

STUDY = """\
question: Does a higher rate learn the sum sooner?
recipe: tiny.py
config: tiny.yaml
seeds: [0, 1, 2]
variants:
  slow_rate: {settings: {optimizer: {lr: 1e-3}}}
  high_rate: {settings: {optimizer: {lr: 5e-2}}}
expect:
  - val/mae: below half of slow_rate
    said: Faster convergence
  - val/mae: below 0.9 of trivial
  - gap: above 100
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a recipe, its config and a study."""
    (tmp_path / "tiny.py").write_text(RECIPE)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "rates.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def study_command(*words):
    return [sys.executable, "-m", "ignition.study", *map(str, words)]


@pytest.fixture
def run_study():
    """Runs the command in a process of its own; gives what it left."""

    def run(*words, timeout=300):
        return subprocess.run(
            study_command(*words), capture_output=True, text=True, timeout=timeout, env=dict(os.environ)
        )

    return run


@pytest.fixture
def start_study():
    """Starts the command and gives its process."""
    return lambda *words: subprocess.Popen(study_command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

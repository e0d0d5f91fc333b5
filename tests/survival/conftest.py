"""A small run to which things happen, beside the same run to which nothing does."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ignition.drill.comparison import differences
from ignition.run import main
from ignition.rundir import RunFolder

RECIPE = '''
"""Rows of numbers. What happens is told by settings, so that it happens within the run itself."""

import os
import shutil
from pathlib import Path

import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn

from ignition.recipe import Section, Splits

CALLS = []


class Recipe:
    class Settings(Section):
        width: int = 8
        fill: str = ""
        fill_at: int = 0
        free_at: int = 0
        vanish_at: int = 0
        move_at: int = 0
        nan_at: int = 0
        picture: str = "noise"

    def __init__(self, settings, data):
        self.settings = settings

    def datasets(self):
        CALLS.append("datasets")
        x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
        return Splits(train=[{"x": row, "y": row.sum(0, keepdim=True)} for row in x],
                      val=[{"x": row, "y": row.sum(0, keepdim=True)} for row in x[:4]])

    def model(self):
        return nn.Sequential(nn.Linear(4, self.settings.width), nn.Dropout(0.1), nn.Linear(self.settings.width, 1))

    def losses(self, model, batch, progress):
        bad = model.training and progress.iteration == self.settings.nan_at
        return {"square": nn.functional.mse_loss(model(batch["x"]), batch["y"]) * (float("nan") if bad else 1.0)}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def pictures(self, batch, outputs):
        return {self.settings.picture: torch.rand(3, 40, 40)}

    def handlers(self, training):
        def at(iteration, act):
            if iteration:
                training.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), lambda engine: act())

        ballast = Path(self.settings.fill) / "ballast"
        at(self.settings.fill_at, lambda: fill(ballast))
        at(self.settings.free_at, lambda: ballast.unlink())
        at(self.settings.vanish_at, lambda: shutil.rmtree(training.run.path))
        at(self.settings.move_at, lambda: os.chdir("/"))


def fill(path):
    with open(path, "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass
'''
SETTINGS = ["data.batch_size=2", "trainer.epochs=2", "trainer.threads=1", "optimizer.lr=0.01", "logging.every=1",
            "logging.progress=false", "logging.tensorboard=false", "checkpoint.every_iterations=2"]  # fmt: skip


class Runs:
    """Runs of that recipe: 12 iterations, two epochs, saved at every second one."""

    def __init__(self, recipe):
        self.recipe = recipe

    def train(self, *words):
        """The exit code."""
        return main([str(self.recipe), *SETTINGS, *words])

    @staticmethod
    def rows(run):
        return RunFolder(run).read_metrics()

    @staticmethod
    def status(run):
        return json.loads((Path(run) / "status.json").read_text())

    @staticmethod
    def payload(run, name="last.pt"):
        return torch.load(Path(run) / "checkpoints" / name, weights_only=True)

    @staticmethod
    def same(one, two, *, rows=True):
        """Whether two runs have come to the same weights, and the same numbers on the way."""
        return differences(Path(one), Path(two), rows=rows) == []


@pytest.fixture
def runs(tmp_path, monkeypatch):
    path = tmp_path / "few_numbers.py"
    path.write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "few_numbers", raising=False)
    yield Runs(path)
    logging.getLogger("ignite").setLevel(logging.NOTSET)


@pytest.fixture
def killed(runs):
    """A run that was killed after its ninth iteration of twelve; ``straight`` is the one that was not."""
    assert runs.train("--output", "straight") == 0
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            die_after(9)
            runs.train("--output", "killed")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 9  # SIGKILL
    assert {"iteration-00000006.pt", "iteration-00000008.pt"} <= set(os.listdir("killed/checkpoints"))
    return Path("killed")


def die_after(iteration):
    """Let SIGKILL come after that iteration of the next run of this process."""
    from ignite.engine import Engine

    run = Engine.run

    def dying(self, *arguments, **options):
        from ignite.engine import Events

        self.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), lambda engine: os.kill(os.getpid(), 9))
        return run(self, *arguments, **options)

    Engine.run = dying


@pytest.fixture
def mounted(tmp_path):
    """Mounts with these words, at a folder that is made; skips where that cannot be done."""
    places = []

    def mount(*words):
        place = tmp_path / f"mounted-{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", *words, str(place)], capture_output=True, text=True, timeout=30)
        if done.returncode:
            pytest.skip(f"this user cannot mount a file system: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)

"""Whole runs with a fault in their memory, their loader processes, their data or their clock."""

import itertools
import json
import re
import time
from pathlib import Path

import pytest
import torch

from ignition.data import worker_pool
from ignition.run import main
from tests.processes import completed

RECIPE = '''
"""A tiny regression to which things happen."""

import os
import resource
import signal
from pathlib import Path

import torch
from ignite.engine import Events
from torch import nn
from torch.utils.data import Dataset, get_worker_info

from ignition.recipe import Section, Splits


class Vectors(Dataset):
    def __init__(self, settings, count, seed, training=False):
        self.settings, self.training, self.root = settings, training, "data/pictures"
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        if training and settings.nan_sample >= 0:
            self.x[settings.nan_sample, 1] = float("nan")

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if self.training and index == self.settings.kill_at and get_worker_info() is not None:
            done = Path("once")
            if not done.exists():
                done.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return {"x": self.x[index] + 0.01 * torch.randn(4), "y": self.x[index].sum(0, keepdim=True)}


class Noise(nn.Module):
    def forward(self, batch):
        return {**batch, "x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}


class Recipe:
    class Settings(Section):
        room: int = 10**9
        room_from: int = 1
        evaluation_room: int = 10**9
        megabytes: int = 0
        signal_at: int = 0
        nan_sample: int = -1
        kill_at: int = -1
        norm: bool = False
        train: int = 22
        val: int = 7

    def __init__(self, settings, data):
        self.settings, self.data, self.limited = settings, data, False

    def datasets(self):
        s = self.settings
        return Splits(train=Vectors(s, s.train, 1, training=True), val=lambda: Vectors(s, s.val, 2))

    def model(self):
        norm = [nn.BatchNorm1d(8)] if self.settings.norm else []
        return nn.Sequential(nn.Linear(4, 8), *norm, nn.Dropout(0.2), nn.Linear(8, 1))

    def augmentation(self):
        return Noise()

    def losses(self, model, batch, progress):
        s, samples = self.settings, len(batch["x"])
        late = model.training and progress.iteration >= s.room_from
        if samples > (s.room if late else s.evaluation_room if not model.training else samples):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if s.megabytes and model.training:
            self.limit()
            torch.empty(samples * s.megabytes, 2**20, dtype=torch.uint8)
        return {"square": nn.functional.mse_loss(model(batch["x"]), batch["y"])}

    def limit(self):
        """Leave room for less than three samples."""
        if not self.limited:
            self.limited = True
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + int(2.9 * self.settings.megabytes * 2**20),) * 2)

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {}

    def handlers(self, training):
        if self.settings.signal_at:
            training.trainer.add_event_handler(
                Events.ITERATION_COMPLETED(once=self.settings.signal_at), lambda engine: signal.raise_signal(15)
            )
        rank = os.environ.get("RANK")
        if rank is not None:
            training.trainer.add_event_handler(
                Events.COMPLETED, lambda engine: torch.save(training.model.state_dict(), f"weights-{rank}.pt")
            )
'''
COMMON = ["data.batch_size=4", "optimizer.lr=0.01", "trainer.threads=1", "logging.every=3", "logging.tensorboard=false"]
COMMON += ["trainer.epochs=2", "stability.measure_every=0"]


@pytest.fixture(autouse=True)
def recipe(write_recipe, monkeypatch):
    monkeypatch.setattr(worker_pool, "LOOK_EVERY_SECONDS", 0.5)
    return write_recipe("frail", RECIPE)


def run(*words):
    return main(["frail.py", *COMMON, *words])


def rows(folder):
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def numbers(folder):
    """A run's rows without what may differ between two runs: the time of day, and how fast it was."""
    alike = [row for row in rows(folder) if "train/step_ms_p50" not in row]
    return [{key: value for key, value in row.items() if key != "time"} for row in alike]


def weights(folder):
    return torch.load(Path(folder, "checkpoints", "last.pt"), weights_only=True)["model"]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def losses(folder):
    return [row["train/batch_loss"] for row in rows(folder) if "train/batch_loss" in row]


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_out_of_memory_goes_on_and_a_resume_goes_on_with_it(accumulate, caplog):
    words = ["recipe.room=2", "recipe.room_from=4", "recipe.evaluation_room=3", f"trainer.accumulate={accumulate}"]
    assert run(*words, "--output", "straight") == 0
    training, evaluation = (message for message in caplog.messages if "did not fit" in message)
    assert training.startswith("iteration 4: a batch did not fit into memory (CUDA out of memory. Tried to allocate")
    assert training.endswith("with the same gradients. To begin so: trainer.micro_batch=2")
    assert evaluation.endswith("To begin so: data.eval_batch_size=2")
    assert {
        row["iteration"]: row["train/out_of_memory"] for row in rows("straight") if "train/out_of_memory" in row
    } == {iteration: 1 for iteration in range(4, 13) if accumulate == 1 or iteration % 2 == 0}
    assert run(*words, "recipe.signal_at=8", "--output", "cut") == 143
    assert main(["frail.py", "--resume", "cut", "recipe.signal_at=0"]) == 0
    assert numbers("cut") == numbers("straight")
    assert same(weights("cut"), weights("straight"))
    assert sum("did not fit" in message for message in caplog.messages) == 4  # the resumed run has known it


def test_memory_that_is_really_short(tmp_path):
    """The allocator's own failure, in a process that may not have more."""
    done = completed("-m", "ignition.run", "frail.py", *COMMON, "recipe.megabytes=256", "--output", "run")
    assert done.returncode == 0, done.stderr
    assert "iteration 1: a batch did not fit into memory (" in done.stderr
    assert "can't allocate memory" in done.stderr
    assert "trainer.micro_batch=2" in done.stderr
    assert len(losses("run")) == 12


def test_a_run_that_cannot_be_helped_fails_in_words(capsys):
    assert run("recipe.room=0", "--output", "run") == 1
    error = capsys.readouterr().err
    assert "has been tried one sample at a time" in error
    assert "Traceback" not in error
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"


# -------------------------------------------------------------------------------------------------------------- data


def test_a_loader_process_that_is_killed_changes_no_bit(caplog):
    assert run("--output", "straight") == 0
    assert run("data.workers=2", "recipe.kill_at=9", "--output", "killed") == 0
    assert Path("once").exists()
    assert sum("was killed by SIGKILL" in message for message in caplog.messages) == 1
    assert numbers("killed") == numbers("straight")
    assert same(weights("killed"), weights("straight"))


def test_a_sample_that_is_not_finite_is_named(caplog):
    assert run("recipe.nan_sample=13", "--output", "run") == 0
    named = [message for message in caplog.messages if "has values that are not finite" in message]
    at = next(row["iteration"] for row in rows("run") if row.get("train/batch_loss") == "NaN")
    assert named == [
        f"iteration {at}: sample 13 of the train data has values that are not finite in 'x' and 'y': mend it, or leave "
        "it out of the data"
    ]
    assert all(torch.isfinite(value).all() for value in weights("run").values())


def test_on_one_of_two_processes_it_costs_both_the_same_step():
    done = completed("-m", "ignition.run", "frail.py", *COMMON, "recipe.nan_sample=13", "--output", "run", processes=2)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("sample 13 of the train data has values that are not finite", done.stderr)) == 1
    assert losses("run").count("NaN") >= 1
    one, two = (torch.load(f"weights-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(one, two)
    assert all(torch.isfinite(value).all() for value in one.values())


@pytest.mark.parametrize(
    ("count", "norm", "message"),
    [
        (1, False, ""),
        (3, False, ""),
        (5, False, ""),
        (3, True, ""),  # less than a batch
        (5, True, "of 5 samples in batches of 4, some batch is one sample, which is too few for batch normalisation "
                  "in '1': data.batch_size=3 leaves more"),
        (1, True, "in '1': there have to be more samples"),
    ],
)  # fmt: skip
def test_few_samples_are_trained_on_or_refused_before_the_first_step(count, norm, message, capsys):
    code = run(f"recipe.train={count}", f"recipe.norm={str(norm).lower()}", "trainer.epochs=1", "--output", "run")
    assert code == (2 if message else 0)
    assert message in capsys.readouterr().err
    assert Path("run").exists() is not bool(message)


def test_pieces_too_small_for_batch_normalisation_are_told(capsys):
    assert run("recipe.norm=true", "recipe.room=1", "--output", "run") == 1
    assert "and pieces of 1 are too small for its batch normalisation" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_refused_at_the_start_by_name_and_place(split, capsys):
    assert run(f"recipe.{split}=0", "--output", "run") == 2
    words = f"data.{split}: the {split} data is empty: Vectors at data/pictures has no samples"
    assert words in capsys.readouterr().err
    assert not Path("run").exists()


# ------------------------------------------------------------------------------------------------------------- clock


def test_a_clock_that_jumps_by_days_changes_nothing_but_the_time_of_rows(monkeypatch, capsys):
    assert run("trainer.max_hours=1", "trainer.job_hours=1", "--output", "straight") == 0
    true, jumps = time.time, itertools.cycle([0.0, 86400.0, -86400.0])
    monkeypatch.setattr(time, "time", lambda: true() + next(jumps))
    assert run("trainer.max_hours=1", "trainer.job_hours=1", "--output", "jumped") == 0
    assert numbers("jumped") == numbers("straight")
    assert json.loads(Path("jumped/status.json").read_text())["status"] == "finished"
    speeds = [row for row in rows("jumped") if "train/step_ms_p50" in row]
    assert speeds
    for row in speeds:
        assert 0 < row["train/samples_per_second"] < 1e6
        assert 0 <= row["train/data_wait_share"] <= 1
        assert 0 < row["train/step_ms_p50"] < 60000
    left = re.findall(r"([^ ]+) s left", capsys.readouterr().err)
    assert len(left) == 4 and all(0 <= float(seconds) < 600 for seconds in left)  # two epochs of two runs
    times = [row["time"] for row in rows("jumped")]
    assert times != sorted(times)  # it has really jumped, and rows are in the order of the run all the same
    iterations = [row["iteration"] for row in rows("jumped") if "train/batch_loss" in row]
    assert iterations == list(range(1, 13))

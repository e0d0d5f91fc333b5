"""Runs of several processes, started by torchrun itself: the same samples, one decision, and nothing lost."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from ignition.run import main
from tests.processes import environment, free_port, python

RECIPE = '''
"""A regression that tells who saw which sample, and in which a process can be made to die, or to see NaN."""

import json
import os
import signal
import socket
import time

import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Section, Splits

RANK = int(os.environ.get("RANK", "0"))
ATTEMPT = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class Vectors(Dataset):
    def __init__(self, count, shift):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(shift))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.x[index].sum(0, keepdim=True), "index": index}


def reads_for_ever():
    time.sleep(600)


class Recipe:
    class Settings(Section):
        kill: list[int] = []
        hang: list[int] = []
        kill_in_save: int = 0
        term: list[int] = []
        nan: list[int] = []
        slow: float = 0.0
        dropout: float = 0.0

    def __init__(self, settings, data):
        self.settings, self.data = settings, data

    def datasets(self):
        return Splits(train=Vectors(21, 1), val=Vectors(7, 2))

    def model(self):
        width = 400  # so that a layer of it is large enough to travel by itself
        return nn.Sequential(
            nn.Linear(4, width), nn.Dropout(self.settings.dropout), nn.Linear(width, width), nn.Linear(width, 1)
        )

    def losses(self, model, batch, progress):
        place = [RANK, progress.iteration]
        if model.training:
            with open(os.path.join("seen", f"{RANK}.jsonl"), "a") as file:
                mask = nn.functional.dropout(torch.ones(8), 0.5).tolist()
                file.write(json.dumps([*place, batch["index"].tolist(), mask]) + "\\n")
            if place == self.settings.kill and not ATTEMPT:
                os.kill(os.getpid(), signal.SIGKILL)
            if place == self.settings.hang:
                reads_for_ever()
            if place == self.settings.term:
                os.kill(os.getpid(), signal.SIGTERM)
        loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        return {"square": loss * float("nan") if place == self.settings.nan else loss}

    def predict(self, model, batch):
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def handlers(self, training):
        if not self.settings.kill_in_save or RANK != 0 or ATTEMPT:
            return

        @training.trainer.on(Events.ITERATION_STARTED(once=self.settings.kill_in_save))
        def arm(engine):
            os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
'''
COMMON = [
    "data.batch_size=4", "optimizer.lr=0.001", "trainer.threads=1", "trainer.epochs=3", "trainer.device=cpu",
    "trainer.evaluate_first=true", "logging.every=3", "logging.tensorboard=false", "logging.progress=false",
    "ema={decay: 0.9}", "clip={kind: norm, max_norm: 1.0}",
]  # fmt: skip
ALL = ["checkpoint.every_iterations=1"]


@pytest.fixture
def recipe(write_recipe, tmp_path):
    (tmp_path / "seen").mkdir()
    return write_recipe("vectors", RECIPE)


def torchrun(recipe, *words, launcher=("--standalone", "--nproc_per_node=2"), timeout_seconds=240):
    """Its exit code, and all that it and its processes said."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "ignition.run", str(recipe), *COMMON, *words],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_seconds,
    )  # fmt: skip
    return done.returncode, done.stdout


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def values(run, name):
    return [row[name] for row in rows(run) if name in row]


def status(run):
    return json.loads((Path(run) / "status.json").read_text())


def state(run):
    return torch.load(Path(run) / "checkpoints" / "last.pt", weights_only=True)


def seen():
    """Who saw what: rank, iteration, samples, and eight draws of a dropout."""
    lines = [line for file in sorted(Path("seen").glob("*.jsonl")) for line in file.read_text().splitlines()]
    for file in Path("seen").glob("*.jsonl"):
        file.unlink()
    return [json.loads(line) for line in lines]


def alike(one, two, tolerance):
    assert one["model"].keys() == two["model"].keys()
    for part in (lambda state: state["model"], lambda state: state["ema"]["module"]):
        for name, value in part(one).items():
            torch.testing.assert_close(part(two)[name], value, rtol=0, atol=tolerance)


def test_two_processes_train_as_one_does(recipe):
    assert main([str(recipe), *COMMON, "--output", "one"]) == 0
    alone = seen()
    code, said = torchrun(recipe, "--output", "two", *ALL)
    assert code == 0, said
    assert said.count("2 processes (ddp): batches of 4 samples in all, 2 on each; the learning rate 0.001 stands") == 1
    together = seen()

    # 21 samples in batches of 4: the sixth has one, which process 1 is lent so that it takes part
    assert len(together) == 2 * len(alone) == 2 * 18
    for _, iteration, samples, _ in alone:
        shares = {rank: share for rank, i, share, _ in together if i == iteration}
        assert shares[0] == samples[0::2]
        assert shares[1] == (samples[1::2] or samples)
    draws = {iteration: set() for _, iteration, *_ in together}
    for _, iteration, _, mask in together:
        draws[iteration].add(tuple(mask))
    assert sum(len(masks) for masks in draws.values()) > 30  # of 36: processes draw numbers of their own

    for name in ("val/mae", "val/loss", "train/batch_loss", "train/gradient_norm"):
        assert values("two", name) == pytest.approx(values("one", name), rel=1e-4)
    for name in ("val/mae", "val/loss", "val/ema/mae"):  # before the first step: the same weights
        assert values("two", name)[0] == pytest.approx(values("one", name)[0], rel=1e-6)
    alike(state("one"), state("two"), 1e-5)


def test_a_run_moves_between_numbers_of_processes_and_ways_to_share_it_in_mid_epoch(recipe, capfd):
    assert main([str(recipe), *COMMON, "--output", "straight"]) == 0
    whole = seen()
    words = ["--output", "moved", "recipe.term=[0, 4]"]
    assert main([str(recipe), *COMMON, *words]) == 143
    assert status("moved")["iteration"] == 4

    # then shared out over two processes, of which one is asked to end
    code, said = torchrun(recipe, "--resume", "moved", "trainer.parallel=fsdp2", "recipe.term=[1, 9]")
    assert code == 1
    assert "resumed at iteration 4, now on 2 instead of 1 processes" in said
    assert "2 processes (fsdp2)" in said
    assert (status("moved")["iteration"], status("moved")["status"]) == (9, "preempted")
    assert status("moved")["reason"] == "asked to stop by SIGTERM"
    assert main([str(recipe), "--resume", "moved", "trainer.parallel=ddp", "recipe.term=[]"]) == 0

    moved = seen()
    assert sorted({(rank, iteration) for rank, iteration, *_ in moved}) == sorted(
        [(0, i) for i in range(1, 19)] + [(1, i) for i in range(5, 10)]
    )
    for _, iteration, samples, _ in whole:
        lent = iteration % 6 == 0  # of 21 samples in batches of 4 the last has one
        shares = [share for rank, i, share, _ in moved if i == iteration and not (lent and rank)]
        assert Counter(index for share in shares for index in share) == Counter(samples)
    alike(state("straight"), state("moved"), 1e-5)
    assert values("moved", "val/mae") == pytest.approx(values("straight", "val/mae"), rel=1e-4)


def test_a_process_that_dies_is_named_and_torchrun_goes_on_with_the_same_run(recipe):
    launcher = ("--standalone", "--nproc_per_node=2", "--max-restarts=1")
    code, said = torchrun(recipe, "recipe.kill=[1, 9]", "recipe.nan=[1, 5]", *ALL, launcher=launcher)
    assert code == 0, said
    assert re.search(r"process 1 \(pid \d+ on \S+\) is gone: it was killed, or it crashed", said)
    assert said.count("resumed at iteration 8") == 1
    runs = list(Path("runs/vectors").iterdir())
    assert [run.name for run in runs] == ["vectors-001"]
    assert [row["iteration"] for row in rows(runs[0]) if "train/batch_loss" in row] == list(range(1, 19))
    assert status(runs[0])["status"] == "finished"
    # what was NaN on process 1 was left out by both
    assert [row["iteration"] for row in rows(runs[0]) if row.get("train/skipped")] in ([5], [])
    assert all(bool(value.isfinite().all()) for value in state(runs[0])["model"].values())


def test_a_process_that_hangs_is_named_and_where_it_is(recipe):
    code, said = torchrun(recipe, "recipe.hang=[1, 9]", "trainer.wait_minutes=0.1", "--output", "run", *ALL)
    assert code == 1
    place = r"process 1 \(pid \d+ on \S+\) is in reads_for_ever \(vectors.py, line \d+\)"
    assert re.search(f"no answer within the time limit: {place}", said), said
    assert "Last whole checkpoint: " in said
    assert state("run")["iteration"] == 8


# ------------------------------------------------------------------------------------------- what takes minutes


@pytest.mark.soak
def test_a_process_that_dies_in_a_save_leaves_the_checkpoint_before_it(recipe):
    code, said = torchrun(recipe, "--output", "run", "recipe.kill_in_save=9", *ALL)
    assert code == 1
    assert re.search(r"process 0 \(pid \d+ on \S+\) is gone", said)
    assert "Last whole checkpoint: " in said
    assert state("run")["iteration"] == 8
    assert main([str(recipe), "--resume", "run", "recipe.kill_in_save=0"]) == 0
    assert status("run")["status"] == "finished"


@pytest.mark.soak
def test_a_signal_to_torchrun_ends_all_in_the_same_iteration(recipe):
    words = ["-m", "ignition.run", recipe, *COMMON, "--output", "run", "trainer.epochs=100000"]
    started = subprocess.Popen(
        python(*words, processes=2), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        while not Path("seen/1.jsonl").exists() or Path("seen/1.jsonl").read_text().count("\n") < 9:
            assert started.poll() is None, started.communicate()[0]
            time.sleep(0.1)
        started.send_signal(signal.SIGTERM)
        said, _ = started.communicate(timeout=120)
    finally:
        started.kill()
        started.wait()
    assert status("run")["status"] == "preempted", said
    last = {rank: max(i for who, i, *_ in seen_now if who == rank) for seen_now in [seen()] for rank in (0, 1)}
    assert last[0] == last[1] == status("run")["iteration"] == state("run")["iteration"]


@pytest.mark.soak
def test_teardown_is_clean_25_times_of_25(recipe):
    codes = [torchrun(recipe, "--output", f"run-{number}", "trainer.epochs=1")[0] for number in range(25)]
    assert codes == [0] * 25


@pytest.mark.soak
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_hosts_train_one_run_and_go_on_when_a_process_of_the_second_dies(recipe, parallel):
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--max-restarts=1",
        "--rdzv-backend=c10d", "--rdzv-id=hosts", f"--rdzv-endpoint=localhost:{free_port()}", "-m", "ignition.run",
    ]  # fmt: skip
    words = [*COMMON, f"trainer.parallel={parallel}", "recipe.kill=[1, 9]", *ALL]
    hosts = [
        subprocess.Popen(
            [*launcher, str(recipe), *words],
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    try:
        said = [host.communicate(timeout=240)[0] for host in hosts]
    finally:
        for host in hosts:
            host.kill()
            host.wait()
    assert [host.returncode for host in hosts] == [0, 0], said
    assert sum("process 1 (pid" in output for output in said) >= 1
    runs = list(Path("runs/vectors").iterdir())
    assert [run.name for run in runs] == ["vectors-001"]
    assert status(runs[0])["status"] == "finished"
    assert [row["iteration"] for row in rows(runs[0]) if "train/batch_loss" in row] == list(range(1, 19))

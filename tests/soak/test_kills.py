"""Hundreds of kills of a run that saves often. `Warm` says what is real about them, and what is spared."""

import os
import random
import signal
import sys
import time
from collections import Counter

import pytest

from ignition.checkpoint_file import load
from ignition.checkpoint_file.folder import newest_good
from ignition.exact_resume.differences import timeless, timeless_state
from ignition.exact_resume.digest import digest, leaves
from ignition.rundir import RunFolder
from tests.soak.vectors import Telling
from tests.soak.warm import ROOT, Warm

RECIPE = ROOT / "tests/soak/vectors.py"
EPOCH = 6  # iterations: 24 samples in batches of 4
COMMON = ["data.batch_size=4", "optimizer.lr=0.01", "trainer.threads=1", "logging.every=3", "logging.tensorboard=false",
          "logging.progress=false", "trainer.accumulate=1"]  # fmt: skip
EVERYTHING = ["trainer.accumulate=2", "ema={decay: 0.9}", "clip.kind=zclip", "clip.warmup=3", "schedule.name=one_cycle",
              "checkpoint={every_iterations: 2, keep_best: 2, metric: val/ema/mae, asynchronous: true}"]  # fmt: skip
HANGS = 120.0  # seconds, on a machine that does much else
SEED = 8


@pytest.fixture(scope="module")
def warm():
    with Warm() as warm:
        yield warm


class Run:
    """One run in a folder of its own, started as often as need be."""

    def __init__(self, warm, folder, *words):
        folder.mkdir()
        page, self.log = folder / "telling", folder / "output.txt"
        page.write_bytes(bytes(16))
        self.warm, self.telling, self.folder = warm, Telling(page), RunFolder(folder / "run")
        self.words = [RECIPE, *COMMON, *words, f"recipe.telling={page}", "--resume", self.folder.path]

    def start(self):
        self.telling.enter("beginning")
        self.telling.done(0)
        self.number = self.warm.start(self.words, self.log)

    def until(self, condition):
        """Wait for a ``condition(phase, iterations done)``."""
        end, looks = time.monotonic() + HANGS, 0
        while not condition(*self.telling.read()):
            time.sleep(0.0005)
            looks += 1
            if looks % 100 == 0:
                assert self.warm.poll(self.number) is None, f"ended too early: {self.said()}"
                assert time.monotonic() < end, f"hangs: {self.said()}"

    def kill(self):
        """By SIGKILL; the phase that it fell in."""
        os.kill(self.number, signal.SIGKILL)
        status = self.warm.wait(self.number)
        assert status == -signal.SIGKILL, f"ended with {status}: {self.said()}"
        return self.telling.read()[0]

    def finish(self):
        self.start()
        assert self.warm.wait(self.number) == 0, self.said()

    def saved(self):
        """The iteration of the newest checkpoint, which is whole and finite as all others are."""
        found = newest_good(self.folder.checkpoints)
        if found is None:
            return 0
        _, payload, rejected = found
        assert rejected == []
        for path in self.folder.checkpoints.glob("*.pt"):
            load(path)
        return payload["iteration"]

    def rows(self):
        return timeless(self.folder.read_metrics())

    def said(self):
        return self.log.read_text()[-2000:]


def tell(what, rounds, began, fell):
    phases = ", ".join(f"{count} while {phase}" for phase, count in fell.most_common())
    sys.stdout.write(f"{what}: {rounds} kills in {time.monotonic() - began:.0f} s: {phases}\n")


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_a_run_killed_at_any_moment_has_a_whole_checkpoint_and_loses_no_more_than_an_interval(warm, tmp_path, rounds):
    every = 3
    run = Run(warm, tmp_path / "a", "trainer.epochs=100000", f"checkpoint.every_iterations={every}")
    chance, fell, began, latest = random.Random(SEED), Counter(), time.monotonic(), 0
    for number in range(rounds):
        run.start()
        if number % 5:  # every fifth kill may fall into the time before training
            run.until(lambda phase, done: phase != "beginning")
        time.sleep(chance.uniform(0, 0.2))
        fell[run.kill()] += 1
        saved, done = run.saved(), run.telling.read()[1]
        assert saved >= latest  # what was there once is never lost
        assert done - saved <= every
        latest = saved
        iterations = [row["iteration"] for row in run.rows() if "train/batch_loss" in row]
        assert iterations == list(range(1, len(iterations) + 1))  # none twice, none missing
        assert len(iterations) >= saved  # a checkpoint is never ahead of its log
    assert latest > 0
    tell("a run that saves often", rounds, began, fell)


@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=pytest.mark.soak)])
def test_a_run_killed_and_resumed_again_and_again_ends_as_the_one_that_was_not(warm, tmp_path, rounds):
    words = [*EVERYTHING, f"trainer.epochs={rounds}"]  # on average a round comes on by less than an epoch
    straight, killed = Run(warm, tmp_path / "straight", *words), Run(warm, tmp_path / "killed", *words)
    straight.finish()
    chance, fell, began = random.Random(SEED), Counter(), time.monotonic()
    for _ in range(rounds):
        enough = killed.saved() + chance.randint(1, 6)
        killed.start()
        killed.until(lambda phase, done, enough=enough: done >= enough)
        time.sleep(chance.uniform(0, 0.01))
        fell[killed.kill()] += 1
    interrupted_last = killed.saved()
    killed.finish()
    tell(f"one run, the last kill after iteration {interrupted_last} of {rounds * EPOCH}", rounds, began, fell)
    for name in ("last.pt", "best.pt", "best-2.pt"):
        one, other = (
            timeless_state({place: digest(value) for place, value in leaves(load(run.folder.checkpoints / name))})
            for run in (straight, killed)
        )
        assert one == other
    assert killed.rows() == straight.rows()
    assert len([row for row in killed.rows() if "train/batch_loss" in row]) == rounds * EPOCH

"""Interrupted anywhere, with any settings, and resumed: bit for bit the run that was not."""

import sys

import pytest

from ignition.checkpoint_file import load
from ignition.exact_resume.differences import timeless, timeless_state
from ignition.exact_resume.digest import digest, leaves
from ignition.run import main
from ignition.rundir import RunFolder

EPOCH = 6  # iterations: 22 samples in batches of 4
COMMON = ["data.batch_size=4", "optimizer.lr=0.01", "trainer.threads=1", "logging.every=4", "logging.tensorboard=false",
          "logging.progress=false"]  # fmt: skip


def train(recipe, run, *words, resume=False, code=0):
    """A run in the folder ``run``, to its end."""
    sys.modules.pop("faulty", None)
    assert main([str(recipe), *COMMON * (not resume), "--resume", run, *words]) == code


def interrupt(recipe, run, at, *words, resume=False):
    """The same, to an error after iteration ``at``."""
    with pytest.raises(BaseException) as error:
        train(recipe, run, f"recipe.interrupt_at={at}", *words, resume=resume)
    assert type(error.value).__name__ == "Interrupted"


def result(run):
    """All that a run has come to: its rows, and each value of its last and its best checkpoint."""
    folder = RunFolder(run)
    kept = {}
    for name in ("last.pt", "best.pt"):
        saved = {place: digest(value) for place, value in leaves(load(folder.checkpoints / name))}
        kept[name] = timeless_state(saved)
    return timeless(folder.read_metrics()), kept


KINDS = {
    "accumulation": ["trainer.accumulate=4", "checkpoint.every_iterations=1"],
    "average": ["ema={decay: 0.9}", "checkpoint={every_iterations: 1, keep_best: 2, metric: val/ema/mae, "
                "asynchronous: true}", "clip.kind=autoclip"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_after_any_iteration(recipe, kind):
    words = [*KINDS[kind], "trainer.epochs=2"]
    train(recipe, "straight", *words)
    for at in range(1, 2 * EPOCH + 1):
        interrupt(recipe, f"at-{at}", at, *words)
        train(recipe, f"at-{at}", "recipe.interrupt_at=0", resume=True)
        assert result(f"at-{at}") == result("straight"), at


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_after_a_signal_in_any_iteration(recipe, name, code):
    words = ["trainer.accumulate=2", "trainer.epochs=2"]  # nothing is saved but for the signal, and each epoch's end
    train(recipe, "straight", *words)
    for at in (1, 2, 6, 7, 9, 12):
        train(recipe, f"at-{at}", f"recipe.signal_at={at}", f"recipe.signal={name}", *words, code=code)
        done = RunFolder(f"at-{at}").read_status()
        assert (done["status"], done["iteration"]) == ("preempted", at + at % 2)  # at the end of a group
        train(recipe, f"at-{at}", "recipe.signal_at=0", resume=True)
        assert result(f"at-{at}") == result("straight"), at


SETTINGS = {
    "cosine": ["schedule={name: cosine, warmup_epochs: 1}"],
    "one_cycle": ["schedule.name=one_cycle"],
    "plateau": ["schedule={name: plateau, patience: 0, threshold: 0.5}", "early_stop={patience: 5, metric: val/mae}"],
    "zclip": ["clip={kind: zclip, warmup: 2}", "trainer.accumulate=2"],
    "agc": ["clip.kind=agc", "logging.shadow_clipping=[autoclip]", "stability.measure_every=3"],
    "no epoch is evaluated but the last": ["trainer.evaluate_every=3", "checkpoint.every_epochs=2"],
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_with_any_settings(recipe, kind):
    words = [*SETTINGS[kind], "trainer.epochs=3", "checkpoint.every_iterations=2"]
    train(recipe, "straight", *words)
    interrupt(recipe, "run", 8, *words)
    interrupt(recipe, "run", 13, resume=True)  # and once more
    train(recipe, "run", "recipe.interrupt_at=0", resume=True)
    assert result("run") == result("straight")


def test_on_with_another_number_of_workers(recipe):
    words = ["trainer.epochs=2", "checkpoint.every_iterations=1"]
    train(recipe, "straight", *words)
    interrupt(recipe, "run", 4, "data.workers=2", *words)
    train(recipe, "run", "recipe.interrupt_at=0", "data.workers=0", resume=True)
    assert result("run") == result("straight")


@pytest.mark.parametrize("at", [7, 9, 12, 14])
def test_taken_back_after_the_resume_to_a_snapshot_from_before_it(recipe, at):
    words = [
        "trainer.epochs=3",
        "checkpoint.every_iterations=2",
        "recipe.roll_back_at=13",
        "stability.snapshot_every=4",
    ]
    train(recipe, "straight", *words)
    assert load("straight/checkpoints/last.pt")["recovery"]["returns"][0][:2] == [13, 8]
    interrupt(recipe, "run", at, *words)
    train(recipe, "run", "recipe.interrupt_at=0", resume=True)
    assert result("run") == result("straight")

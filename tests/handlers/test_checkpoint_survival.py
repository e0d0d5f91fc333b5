"""What is on the disk after a kill, or an error, at every single operation of several saves."""

import errno
import json
import os
import signal

import pytest
import torch
from ignite.engine import Engine, Events
from safetensors import safe_open
from torch import nn

from ignition.checkpoint_file import file as checkpoint_file_file
from ignition.checkpoint_file import load, newest_good
from ignition.handlers.checkpoint import Checkpoint, SavingFailed

SCORES = [0.5, 0.6, 0.2]  # the first and the third are better than what was before
OPERATIONS = ("replace", "fsync", "unlink", "link", "open", "close")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """A killed process loses nothing that it handed to the system; only a power cut asks for more."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


class FailPoint:
    """Counts the operations that change the disk, and does ``what`` instead of, or in the middle of, the n-th."""

    def __init__(self, at, what, operations=OPERATIONS, forever=False):
        self.at, self.what, self.operations, self.forever, self.count = at, what, operations, forever, 0

    def reached(self):
        self.count += 1
        return self.count == self.at or (self.forever and self.count > self.at)

    def arm(self, patch):
        for name in self.operations:
            patch(os, name, self.wrapped(getattr(os, name)))
        patch(checkpoint_file_file, "open", self.opened)

    def opened(self, path, mode):
        return self.Torn(self, path, mode) if "w" in mode else open(path, mode)

    def wrapped(self, operation):
        def step(*arguments, **options):
            if self.reached():
                self.what()
            return operation(*arguments, **options)

        return step

    class Torn:
        """A file without a buffer, so that half of what is written is really there when the other half fails."""

        def __init__(self, point, path, mode):
            if point.reached():
                point.what()
            self.point, self.file = point, open(path, mode, buffering=0)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            data = bytes(data)
            if self.point.reached():
                self.file.write(data[: len(data) // 2])
                self.point.what()
            return self.file.write(data)


def train(folder, announce=lambda news: None, **settings):
    """Three iterations of a model whose weights are the iteration, each evaluated and saved."""
    model = nn.Linear(3, 3)
    trainer, evaluator = (
        Engine(lambda engine, batch: fill(model, engine.state.iteration)),
        Engine(lambda engine, batch: None),
    )
    checkpoint = Checkpoint(folder, {"model": model}, metric="loss", **settings)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update(loss=SCORES[trainer.state.epoch - 1])
    )
    checkpoint.attach_best(evaluator, trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    checkpoint.attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def tell(engine):
        if checkpoint.last_path is not None:
            announce((int(checkpoint.last_path.stem[-8:]), checkpoint.best))

    payload = checkpoint.restore()
    if payload is not None:
        trainer.state.iteration = trainer.state.epoch = payload["iteration"]
        trainer.state.epoch_length = 1
    trainer.state.max_epochs = len(SCORES)
    if trainer.state.iteration < len(SCORES):
        trainer.run([0], max_epochs=len(SCORES))
    return checkpoint


def fill(model, iteration):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(iteration)


def check(folder, announced, best):
    """Whatever happened: nothing visible is broken, and nothing that was announced is lost."""
    for path in folder.glob("*.pt"):
        content = load(path)  # whole
        assert all((tensor == content["iteration"]).all() for tensor in content["model"].values())
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            iteration = int(weights.metadata()["iteration"])
            assert all((weights.get_tensor(name) == iteration).all() for name in ("weight", "bias"))
    found = newest_good(folder)
    assert (found[1]["iteration"] if found else 0) >= announced
    if best is not None:
        assert load(folder / "best.pt")["score"] <= best
    return found


def killed_at_each_operation(tmp_path, work, before=lambda folder: None):
    """For each operation of ``work(folder, announce)`` the folder of a child that was killed at it, and its last words.

    The last one was not killed.
    """
    at, killed, write = 0, True, os.write
    while killed:
        at += 1
        folder = tmp_path / str(at)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                before(folder)
                FailPoint(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).arm(setattr)
                work(folder, lambda news, to=writer: write(to, json.dumps(news).encode() + b"\n"))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writer)
        with open(reader) as told:
            lines = told.read().split("\n")
        status = os.waitpid(child, 0)[1]
        killed = status == signal.SIGKILL
        assert killed or status == 0
        yield folder, json.loads(lines[-2]) if len(lines) > 1 else (0, None)


ALWAYS = {"best.pt", "iteration-00000002.pt", "iteration-00000003.pt", "last.pt"}
WEIGHTS = {"best.safetensors", "last.safetensors"}


@pytest.mark.parametrize(("settings", "files", "operations"), [
    ({}, ALWAYS, 80),
    ({"asynchronous": True, "keep_best": 2, "safetensors": True}, ALWAYS | WEIGHTS | {"best-2.pt"}, 140),
], ids=["by itself", "in the background, two best, weights too"])  # fmt: skip
def test_a_kill_at_any_operation_loses_nothing_that_was_announced(tmp_path, settings, files, operations):
    def work(folder, announce):
        train(folder, announce, **settings)

    at = 0
    for folder, (announced, best) in killed_at_each_operation(tmp_path, work):
        at += 1
        check(folder, announced, best)
        assert (folder / "last.pt").exists() or not announced
        # the run goes on, and ends as if nothing had been
        checkpoint = train(folder, **settings)
        found = {path.name for path in folder.iterdir()}
        found.discard("iteration-00000001.pt")  # of a kill just before the last save cleared it away
        assert found == files
        named = {"best.pt": 3, "last.pt": 3, "best-2.pt": 1}
        assert {name: load(folder / name)["iteration"] for name in named if name in files} == {
            name: iteration for name, iteration in named.items() if name in files
        }
        assert checkpoint.best == 0.2
        check(folder, 3, 0.2)
        for name in WEIGHTS & files:
            with safe_open(folder / name, "pt") as weights:
                assert weights.metadata()["iteration"] == "3"
    assert at > operations  # three saves have that many


def measure(folder, announce=lambda news: None, scores=SCORES):
    """Weights that are only measured, in the middle of a group of accumulated batches: nothing to go on from."""
    model, trainer = nn.Linear(3, 3), Engine(lambda engine, batch: None)
    trainer.state.group_open = True
    checkpoint = Checkpoint(folder, {"model": model}, metric="loss", keep_best=2)
    checkpoint.restore()
    for score in scores:
        trainer.state.iteration = SCORES.index(score) + 1
        fill(model, trainer.state.iteration)
        checkpoint.offer(trainer, score)
        announce((trainer.state.iteration, checkpoint.best))
    return checkpoint


def test_a_kill_while_the_best_move_on_loses_none_of_them(tmp_path):
    def first(folder):
        measure(folder, scores=[0.5, 0.6])

    def then(folder, announce):
        measure(folder, announce, scores=[0.2])

    at = 0
    for folder, (announced, best) in killed_at_each_operation(tmp_path, then, first):
        at += 1
        check(folder, 0, best)
        kept = {load(path)["score"] for path in folder.glob("best*.pt")}
        assert 0.5 in kept  # one of the two best from the first to the last
        assert 0.2 in kept if announced else kept > {0.5}
        assert measure(folder, scores=[] if announced else [0.2]).best == 0.2
        named = {"best.pt": 0.2, "best-2.pt": 0.5}
        assert {path.name: load(path)["score"] for path in folder.iterdir() if path.name != "last.pt"} == named
    assert at > 25


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ABLE_TO_FAIL = ("replace", "fsync", "link", "open")  # a full disk does not keep one from removing and closing files


def test_a_full_disk_at_any_operation_costs_one_save_at_most(tmp_path, monkeypatch):
    at, failed = 0, True
    while failed:
        at += 1
        folder, told = tmp_path / str(at), []
        folder.mkdir()
        point = FailPoint(at, no_space, ABLE_TO_FAIL)
        with monkeypatch.context() as patch:
            point.arm(lambda *arguments: patch.setattr(*arguments, raising=False))
            checkpoint = train(folder, told.append)
        failed = point.count >= at
        assert not list(folder.glob(".tmp-*"))
        check(folder, *told[-1])
        assert load(folder / "last.pt")["iteration"] >= 2
        assert told[-1][0] >= 2 and len(told) >= 2
        assert checkpoint.best == min(load(folder / "best.pt")["score"], checkpoint.best)
        train(folder)
        assert load(folder / "last.pt")["iteration"] == 3 and load(folder / "best.pt")["score"] == 0.2
    assert at > 50


@pytest.mark.parametrize("max_failures", [2, 100])
def test_a_disk_that_is_full_from_any_operation_on_leaves_what_was_there(tmp_path, monkeypatch, max_failures):
    at, failed, stopped = 0, True, 0
    while failed:
        at += 1
        folder, told = tmp_path / str(at), []
        folder.mkdir()
        point = FailPoint(at, no_space, ABLE_TO_FAIL, forever=True)
        with monkeypatch.context() as patch:
            point.arm(lambda *arguments: patch.setattr(*arguments, raising=False))
            try:
                train(folder, told.append, max_failures=max_failures)
            except SavingFailed:
                stopped += 1
        failed = point.count >= at
        assert not list(folder.glob(".tmp-*"))
        found = check(folder, *(told[-1] if told else (0, None)))
        assert train(folder).best == 0.2  # there is space again
        assert found is None or found[0].parent == folder
    assert (stopped > 0) == (max_failures == 2)

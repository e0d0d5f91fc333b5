import contextlib
import errno
import math
import os
import pickle

import ignite.handlers
import pytest
import torch
from ignite.engine import DeterministicEngine, Engine, Events
from torch import nn

from ignition.handlers import Checkpoint, RandomState

NAN = math.nan


class Ours:
    """Saves after each epoch, and the best where higher ``scores`` are better."""

    def __init__(self, folder, objects, trainer, scores=()):
        self.folder = folder
        self.handler = Checkpoint(folder, objects, metric="score" if scores else None, mode="max", max_failures=9)
        if scores:
            self.handler.attach_best(evaluator_of(trainer, scores), trainer)
        self.handler.attach(trainer)

    last = property(lambda self: self.handler.last_path)
    best = property(lambda self: self.folder / "best.pt")

    @staticmethod
    def load(path, objects):
        Checkpoint(path.parent, objects).restore()

    @classmethod
    def go_on(cls, folder, objects, trainer, scores):
        """As one goes on after a restart."""
        made = cls(folder, objects, trainer, scores)
        made.handler.restore()
        return made


class Ignites:
    """The same, attached as its documentation does; one file is kept, its default."""

    def __init__(self, folder, objects, trainer, scores=(), **disk):
        saver = ignite.handlers.DiskSaver(folder, **disk)
        score = (lambda engine: engine.state.metrics["score"]) if scores else None
        step = ignite.handlers.global_step_from_engine(trainer)
        self.handler = ignite.handlers.Checkpoint(
            objects, saver, score_function=score, score_name="score" if scores else None, global_step_transform=step
        )
        engine = evaluator_of(trainer, scores) if scores else trainer
        engine.add_event_handler(Events.COMPLETED if scores else Events.EPOCH_COMPLETED, self.handler)

    last = best = property(lambda self: self.handler.last_checkpoint)

    @staticmethod
    def load(path, objects):
        ignite.handlers.Checkpoint.load_objects(objects, path)

    @classmethod
    def go_on(cls, folder, objects, trainer, scores):
        return cls(folder, objects, trainer, scores, require_empty=False)


def evaluator_of(trainer, scores):
    """An evaluator that runs after each epoch, and whose metric ``score`` follows the script."""
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update(score=scores[trainer.state.epoch - 1])
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    return evaluator


def model_and_trainer():
    """A model whose weight is the number of epochs that it was trained."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    trainer = Engine(lambda engine, batch: model.weight.data.add_(1.0) and None)
    return model, trainer


def trained(make, folder, epochs, scores=(), objects=None):
    model, trainer = model_and_trainer()
    saved = make(folder, objects or {"model": model}, trainer, scores)
    trainer.run([0], max_epochs=epochs)
    return saved, trainer


def weight(path):
    content = torch.load(path)
    return content.get("model", content)["weight"].item()


def disk_is_full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.in_place_of("V6", Ours, Ignites, there=r"assert \[\] == \[1.0, 2.0\]")
def test_a_write_that_fails_costs_none_of_the_files_before(make, tmp_path, monkeypatch):
    _, trainer = trained(make, tmp_path, 2)
    monkeypatch.setattr(os, "replace", disk_is_full)
    with contextlib.suppress(OSError):
        trainer.run([0], max_epochs=3)
    assert sorted({weight(path) for path in tmp_path.glob("*.pt")}) == [1.0, 2.0]


@pytest.mark.in_place_of("V6", Ours, Ignites, there="where False = exists")
def test_what_is_called_the_last_file_is_there_after_a_failed_write(make, tmp_path, monkeypatch):
    saved, trainer = trained(make, tmp_path, 2)
    monkeypatch.setattr(os, "replace", disk_is_full)
    with contextlib.suppress(OSError):
        trainer.run([0], max_epochs=3)
    assert saved.last.exists()


@pytest.mark.in_place_of("V7", Ours, Ignites, there="assert 1.0 == 4.0")
def test_a_first_score_of_nan_is_beaten_by_the_first_number(make, tmp_path):
    saved, _ = trained(make, tmp_path, 4, [NAN, 0.5, 0.6, 0.7])
    assert weight(saved.best) == 4.0


@pytest.mark.in_place_of("V8", Ours, Ignites, there="assert 2.0 == 3.0")
def test_the_last_file_is_that_of_the_last_epoch(make, tmp_path):
    saved, _ = trained(make, tmp_path, 3, [0.5, 0.9, 0.7])
    assert weight(saved.last) == 3.0


@pytest.mark.in_place_of("V9", Ours, Ignites, there="score_function should be a number", raises=ValueError)
def test_a_score_may_be_a_tensor(make, tmp_path):
    saved, _ = trained(make, tmp_path, 2, [torch.tensor(0.5), torch.tensor(0.4)])
    assert weight(saved.best) == 1.0


@pytest.mark.in_place_of("V10", Ours, Ignites, there="assert 2.0 == 1.0")
def test_after_a_restart_a_worse_model_is_not_the_best(make, tmp_path):
    trained(make, tmp_path, 1, [0.9])
    model, trainer = model_and_trainer()
    saved = make.go_on(tmp_path, {"model": model}, trainer, [None, 0.1])
    trainer.load_state_dict({"epoch_length": 1, "max_epochs": 2, "iteration": 1})
    model.weight.data.fill_(1.0)
    trainer.run([0])
    assert weight(saved.best) == 1.0


class IgnitesByDefault(Ignites):
    go_on = Ignites


@pytest.mark.in_place_of("V10", Ours, IgnitesByDefault, there="already present", raises=ValueError)
def test_a_run_goes_on_in_its_own_folder(make, tmp_path):
    trained(make, tmp_path, 1)
    model, trainer = model_and_trainer()
    make.go_on(tmp_path, {"model": model}, trainer, ())
    trainer.load_state_dict({"epoch_length": 1, "max_epochs": 2, "iteration": 1})
    assert trainer.run([0]).epoch == 2


@pytest.mark.in_place_of("V11", Ours, Ignites, there="assert 0 >= 2")
def test_a_file_is_on_the_disk_before_it_is_relied_on(make, tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (flushed.append(file), fsync(file)))
    trained(make, tmp_path, 1)
    assert len(flushed) >= 2  # the file, and the folder's entry of it


@pytest.mark.in_place_of("V12", Ours, Ignites, there="Attempting to deserialize object on", raises=RuntimeError)
def test_a_file_of_a_machine_with_more_devices_is_loaded(make, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:99")
    saved, _ = trained(make, tmp_path, 1)
    monkeypatch.undo()
    model = nn.Linear(1, 1, bias=False)
    make.load(saved.last, {"model": model})
    assert model.weight.item() == 1.0


class RandomEngine(DeterministicEngine):
    """ignite's place for the state of the generators; its constructor needs a step, which nobody takes here."""

    def __init__(self):
        super().__init__(lambda engine, batch: None)
        self.load_state_dict({"iteration": 0, "epoch_length": 1, "max_epochs": 1, "rng_states": None})


def with_random_state(cls, made):
    """The checkpoint class of that side with that side's keeper of the generators."""

    class Made(cls):
        def __init__(self, folder, objects, trainer, scores=()):
            super().__init__(folder, {**objects, "random": made()}, trainer, scores)

        @staticmethod
        def load(path, objects):
            cls.load(path, {**objects, "random": made()})

    return Made


@pytest.mark.in_place_of(
    "V12", with_random_state(Ours, RandomState), with_random_state(Ignites, RandomEngine),
    there="Weights only load failed", raises=pickle.UnpicklingError,
)  # fmt: skip
def test_the_state_of_the_generators_can_be_loaded_again(make, tmp_path):
    saved, _ = trained(make, tmp_path, 1)
    expected = torch.rand(3).tolist()
    make.load(saved.last, {"model": nn.Linear(1, 1, bias=False)})
    assert torch.rand(3).tolist() == expected


@pytest.mark.in_place_of("V13", Ours, Ignites, there='Missing key.* "weight"', raises=RuntimeError)
def test_a_compiled_model_is_loaded_into_a_plain_one(make, tmp_path):
    compiled, plain = torch.compile(nn.Linear(1, 1, bias=False), backend="eager"), nn.Linear(1, 1, bias=False)
    saved, _ = trained(make, tmp_path, 1, objects={"model": compiled})
    make.load(saved.last, {"model": plain})
    assert plain.weight.item() == compiled.weight.item()

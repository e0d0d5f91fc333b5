"""Saves that are written in the background: of the moment they were asked for, told in the end, never lost."""

import errno
import logging
import os
import subprocess
import sys
import threading

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.checkpoint_file import load, peek
from ignition.handlers.checkpoint import Checkpoint, SavingFailed


class Gate:
    """Holds the writer at its first flush until it is opened; or lets it fail there."""

    def __init__(self, monkeypatch):
        self.open, self.waits, self.full = threading.Event(), threading.Event(), set()
        self.flushed, fsync = [], os.fsync

        def flush(file):
            name = os.readlink(f"/proc/self/fd/{file}")
            self.flushed.append(threading.current_thread() is threading.main_thread())
            self.waits.set()
            assert self.open.wait(20)
            if any(f"{number:08d}" in name for number in self.full):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(file)

        monkeypatch.setattr(os, "fsync", flush)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()  # or the interpreter would wait for the writer


class Run:
    """A model whose weight is the iteration, with an optimizer that has a state, trained by a two-line engine."""

    def __init__(self, folder, **settings):
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1, bias=False)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.notes = Notes()
        self.trainer = Engine(self.step)
        objects = {"model": self.model, "optimizer": self.optimizer, "notes": self.notes}
        self.checkpoint = Checkpoint(folder, objects, **{"asynchronous": True, **settings})

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        self.model(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()
        self.notes.rows.append([engine.state.iteration])
        with torch.no_grad():
            self.model.weight.fill_(engine.state.iteration)

    def at(self, iteration):
        self.trainer.state.iteration = iteration
        self.step(self.trainer, None)
        return self


class Notes:
    """Gives its own list away."""

    def __init__(self):
        self.rows = []

    def state_dict(self):
        return {"rows": self.rows}

    def load_state_dict(self, state):
        self.rows = state["rows"]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def numbers(folder):
    return [int(path.name[10:18]) for path in sorted(folder.glob("iteration-*.pt"))]


# ------------------------------------------------------------------------------------------------------- what is saved


def test_the_state_of_the_call_is_written_though_training_goes_on_meanwhile(tmp_path, gate):
    there, here = Run(tmp_path / "background"), Run(tmp_path / "here", asynchronous=False)
    gate.open.set()
    assert here.at(1).checkpoint.save(here.trainer) is True
    gate.open.clear()
    assert there.at(1).checkpoint.save(there.trainer) is True
    assert gate.waits.wait(20)
    for iteration in range(2, 6):  # all of it changes, in place
        there.at(iteration)
    there.notes.rows[0].append("later")
    assert not list((tmp_path / "background").glob("*.pt")) and there.checkpoint.last_path is None
    gate.open.set()
    assert there.checkpoint.wait() is True
    assert there.checkpoint.last_path.name == "iteration-00000001.pt"
    written, expected = (load(tmp_path / name / "last.pt") for name in ("background", "here"))
    assert same(written, expected) and written["notes"] == {"rows": [[1]]}
    assert gate.flushed[-2:] == [False, False]  # beside the loop


def test_the_next_save_waits_for_the_one_under_way_and_none_is_left_out(tmp_path, gate):
    run = Run(tmp_path, keep=9).at(1)
    run.checkpoint.save(run.trainer)
    assert gate.waits.wait(20)
    threading.Timer(0.05, gate.open.set).start()
    run.at(2).checkpoint.save(run.trainer)
    assert numbers(tmp_path)[0] == 1 and run.checkpoint.last_path.name == "iteration-00000001.pt"
    run.at(3).checkpoint.save(run.trainer)
    run.checkpoint.wait()
    assert [load(path)["model"]["weight"][0, 0].item() for path in sorted(tmp_path.glob("i*.pt"))] == [1.0, 2.0, 3.0]


def test_it_ends_with_the_same_files_as_without_a_thread(tmp_path):
    scores, ended = [0.5, 0.3, 0.4, 0.2, 0.6], []
    for name, asynchronous in (("here", False), ("background", True)):
        run = Run(tmp_path / name, asynchronous=asynchronous, keep_best=2, metric="loss")
        evaluator = Engine(lambda engine, batch: None)

        @evaluator.on(Events.COMPLETED)
        def score(engine, run=run):
            engine.state.metrics["loss"] = scores[run.trainer.state.epoch - 1]

        run.checkpoint.attach_best(evaluator, run.trainer)
        run.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine, evaluator=evaluator: evaluator.run([0]))
        run.checkpoint.attach(run.trainer, Events.ITERATION_COMPLETED(every=2) | Events.EPOCH_COMPLETED)
        run.trainer.run([0] * 3, max_epochs=5)
        ended.append({path.name: load(path) for path in (tmp_path / name).iterdir()})
        assert run.checkpoint.best == 0.2
    assert ended[0].keys() == ended[1].keys() == {
        "best.pt", "best-2.pt", "last.pt", "iteration-00000014.pt", "iteration-00000015.pt",
    }  # fmt: skip
    assert all(same(content, ended[1][name]) for name, content in ended[0].items())


def test_an_iteration_is_begun_once(tmp_path, gate):
    run = Run(tmp_path).at(1)
    for _ in range(2):
        run.checkpoint(run.trainer)
    gate.open.set()
    run.checkpoint.wait()
    run.checkpoint(run.trainer)
    assert len(gate.flushed) == 3  # the file, the folder, the folder again for last.pt


def test_where_the_state_cannot_be_copied_it_is_written_at_once(tmp_path, monkeypatch, caplog):
    run = Run(tmp_path).at(1)

    def refuse(size, pinned):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("ignition.checkpoint_file.host_copy._allocate", refuse)
    assert run.checkpoint.save(run.trainer) is True
    assert numbers(tmp_path) == [1] and "written at once, since it could not be copied: Default" in caplog.text


def test_what_cannot_be_loaded_again_is_refused_at_once(tmp_path):
    run = Run(tmp_path).at(1)
    run.notes.rows.append({1, 2})
    with pytest.raises(TypeError, match=r"notes\.rows\[1\] is a set"):
        run.checkpoint.save(run.trainer)


# ------------------------------------------------------------------------------------------------- when it is finished


@pytest.mark.parametrize("end", ["all epochs", "terminate", "interrupt", "completed", "error"])
def test_at_every_end_of_a_run_it_is_on_the_disk(tmp_path, gate, end):
    run, seen = Run(tmp_path), []
    run.checkpoint.attach(run.trainer, Events.COMPLETED if end == "completed" else Events.ITERATION_COMPLETED)

    @run.trainer.on(Events.ITERATION_STARTED(once=3))
    def hold(trainer):
        run.checkpoint.wait()
        gate.open.clear()
        threading.Timer(0.1, gate.open.set).start()

    @run.trainer.on(Events.ITERATION_COMPLETED(once=3))
    def leave(trainer):
        if end == "error":
            raise ValueError("stop here")
        if end in ("terminate", "interrupt"):
            getattr(trainer, end)()

    gate.open.set()
    for event in (Events.COMPLETED, Events.TERMINATE, Events.INTERRUPT):
        run.trainer.add_event_handler(event, lambda engine: seen.append(numbers(tmp_path)[-1]))
    if end == "error":
        with pytest.raises(ValueError, match="stop here"):
            run.trainer.run([0] * 3)
    else:
        run.trainer.run([0] * 3)
        assert set(seen) == {3} and run.checkpoint.last_path.name == "iteration-00000003.pt"
    assert numbers(tmp_path)[-1] == 3
    if end == "interrupt":
        run.trainer.run([0] * 3)  # goes on to the end


def test_a_restore_waits_for_it(tmp_path, gate):
    run = Run(tmp_path).at(1)
    run.checkpoint.save(run.trainer)
    assert gate.waits.wait(20)
    run.at(2)
    threading.Timer(0.05, gate.open.set).start()
    assert run.checkpoint.restore()["iteration"] == 1
    assert run.model.weight.tolist() == [[1.0, 1.0]] and run.checkpoint.last_path.name == "iteration-00000001.pt"


def test_the_interpreter_ends_after_it(tmp_path):
    program = f"""
import os, sys, time, torch
from ignite.engine import Engine
from ignition.handlers.checkpoint import Checkpoint
fsync = os.fsync
os.fsync = lambda file: (time.sleep(0.2), fsync(file))
trainer = Engine(lambda engine, batch: None)
trainer.state.iteration = 4
Checkpoint({str(tmp_path)!r}, {{"model": torch.nn.Linear(1, 1)}}, asynchronous=True).save(trainer)
assert not os.path.exists({str(tmp_path / "last.pt")!r})
sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert load(tmp_path / "last.pt")["iteration"] == 4


# -------------------------------------------------------------------------------------------------------- what fails


def test_a_failure_is_logged_at_once_and_told_by_the_next_call(tmp_path, gate, caplog):
    run = Run(tmp_path).at(1)
    gate.open.set()
    run.checkpoint.save(run.trainer)
    run.checkpoint.wait()
    gate.full.add(2)
    with caplog.at_level(logging.ERROR):
        assert run.at(2).checkpoint.save(run.trainer) is True  # begun
        run.checkpoint._saving._background.wait()
        (message,) = (record.message for record in caplog.records)
        assert message.startswith(
            f"no checkpoint of iteration 2: {tmp_path}/iteration-00000002.pt was not written: disk"
        )
        assert message.endswith("; the newest good one is iteration-00000001.pt. The run goes on")
        assert run.checkpoint.wait() is False and run.checkpoint.wait() is True
    assert len(caplog.records) == 1  # told once
    run.at(3).checkpoint.save(run.trainer)
    assert run.checkpoint.wait() is True and numbers(tmp_path) == [1, 3]


def test_failures_in_a_row_end_the_run_at_the_next_save_or_at_its_end(tmp_path, gate):
    gate.open.set()
    gate.full.update(range(3, 9))
    run = Run(tmp_path / "a", max_failures=2)
    run.checkpoint.attach(run.trainer, Events.ITERATION_COMPLETED)
    with pytest.raises(SavingFailed, match=r"no checkpoint of iteration 4: .*disk full.* 2 saves in a row failed"):
        run.trainer.run([0] * 9)
    assert run.trainer.state.iteration == 5 and numbers(tmp_path / "a") == [1, 2]
    run = Run(tmp_path / "b", max_failures=2)
    run.checkpoint.attach(run.trainer, Events.ITERATION_COMPLETED)
    with pytest.raises(SavingFailed, match="iteration 4"):
        run.trainer.run([0] * 4)
    assert run.checkpoint.restore()["iteration"] == 2  # the way back is open


def test_an_error_of_the_program_is_raised_by_the_next_call(tmp_path, monkeypatch, caplog):
    run = Run(tmp_path).at(1)
    monkeypatch.setattr(torch, "save", lambda *arguments: 1 / 0)
    run.checkpoint.save(run.trainer)
    with pytest.raises(ZeroDivisionError):
        run.at(2).checkpoint.save(run.trainer)
    assert "ended with an error" in caplog.text
    monkeypatch.undo()
    run.checkpoint.save(run.trainer)
    assert run.checkpoint.wait() is True and numbers(tmp_path) == [2]


def test_a_best_that_could_not_be_written_is_not_held_for_the_best(tmp_path, gate):
    gate.open.set()
    gate.full.add(2)
    run = Run(tmp_path, metric="loss")
    for iteration, score in enumerate([0.5, 0.1, 0.3, 0.2], start=1):
        run.at(iteration).checkpoint.offer(run.trainer, score)
    run.checkpoint.wait()
    assert peek(tmp_path / "best.pt")["score"] == run.checkpoint.best == 0.2  # 0.1 is nowhere on the disk


def test_a_model_that_is_not_finite_is_never_written(tmp_path, caplog):
    run = Run(tmp_path, metric="loss").at(1)
    run.checkpoint.offer(run.trainer, 0.5)
    run.at(2).model.weight.data.fill_(float("nan"))
    run.checkpoint.offer(run.trainer, 0.1)
    assert run.checkpoint.wait() is False and run.checkpoint._saving.failures == 0
    assert numbers(tmp_path) == [1] and run.checkpoint.best == 0.5
    assert "iteration 2: it has values that are not finite in model.weight; the newest good one is" in caplog.text


def test_an_error_in_the_loop_goes_on_its_way_and_ends_the_run(tmp_path):  # V14
    run = Run(tmp_path)
    run.checkpoint.attach(run.trainer, Events.ITERATION_COMPLETED)
    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda engine: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.trainer.run([0] * 5, max_epochs=3)
    assert run.trainer.state.iteration == 3 and numbers(tmp_path) == [1, 2]


# ----------------------------------------------------------------------------------------------------- many processes

TOGETHER = """
import os, torch, logging
from ignite.engine import Engine, Events
from ignition import distributed
from ignition.handlers.checkpoint import Checkpoint, SavingFailed
logging.disable()
with distributed.process_group("cpu"):
    rank = distributed.rank()
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
    trainer = Engine(lambda engine, batch: model.module.weight.data.fill_(engine.state.iteration) and None)
    checkpoint = Checkpoint(FOLDER, {"model": model}, asynchronous=True, max_failures=2, metric="loss", keep_best=2)
    checkpoint.attach(trainer, Events.EPOCH_COMPLETED)
    if rank == 1:
        os.replace = None  # it must not write
    score = lambda engine: checkpoint.offer(engine, 1.0 / engine.state.epoch + rank)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, score)
    trainer.run([0], max_epochs=3)
    print(checkpoint.best == 1 / 3, checkpoint.last_path.name)
    fsync = os.fsync
    def full(*a): raise OSError(28, "No space left on device")
    if rank == 0: os.fsync = full
    try:
        trainer.run([0], max_epochs=9)
    except SavingFailed as error:
        print(trainer.state.epoch, "2 saves in a row failed" in str(error))
    os.fsync = fsync
    model.module.weight.data.fill_(9 + rank)
    print(checkpoint.restore()["iteration"], model.module.weight.item(), checkpoint.best == 1 / 3)
    # one process alone ends by an error: nobody waits for the other
    trainer = Engine(lambda engine, batch: 1 / 0 if rank == 0 and engine.state.iteration == 3 else None)
    checkpoint.attach(trainer, Events.ITERATION_COMPLETED(once=2))
    trainer.state.iteration = 3
    checkpoint.save(trainer)
    trainer.state.iteration = 0
    if rank == 0:
        try:
            trainer._fire_event(Events.EXCEPTION_RAISED, ZeroDivisionError("alone"))
        except ZeroDivisionError as error:
            print(error)
    else:
        print("alone")
    print(checkpoint.wait(), checkpoint.last_path.name)
"""


def test_process_0_writes_and_all_learn_the_same_when_they_meet_again(tmp_path, two_processes):
    folder = tmp_path / "checkpoints"
    outputs = two_processes(TOGETHER.replace("FOLDER", repr(str(folder))))
    expected = ["True iteration-00000003.pt", "5 True", "3 3.0 True", "alone", "True iteration-00000003.pt"]
    assert [output.splitlines() for output in outputs] == [expected, expected]
    assert sorted(path.name for path in folder.iterdir()) == [
        "best-2.pt", "best.pt", "iteration-00000002.pt", "iteration-00000003.pt", "last.pt",
    ]  # fmt: skip

"""When a checkpoint is saved: at events, by the clock, when somebody asks, and after an error."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.checkpoint_file import load
from ignition.handlers.checkpoint import Checkpoint
from ignition.handlers.consensus import Consensus


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still unless it is told to go on."""
    now = [0.0]
    monkeypatch.setattr("ignition.handlers.checkpoint.time.monotonic", lambda: now[0])
    return now


def made(folder, step=lambda engine, batch: None, **settings):
    trainer = Engine(step)
    return trainer, Checkpoint(folder, {"model": nn.Linear(1, 1)}, **{"keep": 100, **settings})


def numbers(folder):
    return [int(path.name[10:18]) for path in sorted(folder.glob("iteration-*.pt"))]


def test_several_events_are_one_value(tmp_path):
    trainer, checkpoint = made(tmp_path)
    checkpoint.attach(trainer, Events.ITERATION_COMPLETED(every=3) | Events.EPOCH_COMPLETED(every=2) | Events.STARTED)
    trainer.run([0] * 4, max_epochs=4)
    assert numbers(tmp_path) == [0, 3, 6, 8, 9, 12, 15, 16]


def test_iterations_epochs_and_minutes_at_once(tmp_path, clock):
    trainer, checkpoint = made(tmp_path, every_minutes=1.0)
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: clock.__setitem__(0, clock[0] + 13.0))
    checkpoint.attach(trainer, Events.ITERATION_COMPLETED(event_filter=lambda engine, iteration: iteration in (2, 9)))
    checkpoint.attach(trainer, Events.EPOCH_COMPLETED(every=2))
    trainer.run([0] * 8, max_epochs=2)
    # a minute is over five iterations after a save; that of 14 comes five after 9, which came first
    assert numbers(tmp_path) == [2, 7, 9, 14, 16]


def test_at_an_epochs_last_batch_the_clock_waits_for_what_the_epochs_end_brings(tmp_path, clock):
    trainer, checkpoint = made(tmp_path, every_minutes=1.0)
    checkpoint.attach(trainer, Events.COMPLETED)
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda engine: clock.__setitem__(0, 61.0))
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: seen.extend(numbers(tmp_path)))
    trainer.run([0] * 4, max_epochs=2)
    assert seen == [] and numbers(tmp_path) == [4, 8]


def test_a_clock_that_is_set_back_does_no_harm(tmp_path, clock):
    trainer, checkpoint = made(tmp_path, every_minutes=1.0)
    checkpoint.attach(trainer, Events.COMPLETED)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: clock.__setitem__(0, -9e9))
    trainer.run([0] * 4)
    assert numbers(tmp_path) == [4]


def test_whoever_asks_for_a_save_gets_one(tmp_path):
    trainer, checkpoint = made(tmp_path)
    checkpoint.attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: Consensus.of(engine).ask("save", "somebody is curious")
    )
    trainer.run([0] * 4)
    assert numbers(tmp_path) == [2, 4]


def test_handlers_of_the_iteration_that_are_attached_later_are_in_a_save_by_the_clock(tmp_path, clock):
    trainer, checkpoint = made(tmp_path, every_minutes=1.0)
    checkpoint.attach(trainer, Events.COMPLETED)
    clock[0] = 61.0
    model = checkpoint.objects["model"]
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: model.weight.data.fill_(engine.state.iteration) and None
    )
    trainer.run([0] * 4)
    assert load(tmp_path / "iteration-00000001.pt")["model"]["weight"].item() == 1.0


# ------------------------------------------------------------------------------------------------------ after an error


def failing_at(number):
    """Batches of which that one cannot be read."""
    for place in range(1, 9):
        if place == number:
            raise OSError("broken batch")
        yield place


@pytest.mark.parametrize("asynchronous", [False, True])
def test_between_two_iterations_there_is_a_state_to_go_on_from(tmp_path, asynchronous):  # V14
    trainer, checkpoint = made(tmp_path, asynchronous=asynchronous)
    checkpoint.attach(trainer, Events.EPOCH_COMPLETED | Events.EXCEPTION_RAISED)
    with pytest.raises(OSError, match="broken batch"):
        trainer.run(failing_at(4), max_epochs=3, epoch_length=8)
    assert trainer.state.iteration == 3 and numbers(tmp_path) == [3]


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_in_the_middle_of_something_there_is_none_and_the_error_goes_on_its_way(tmp_path, event, error):
    trainer, checkpoint = made(tmp_path)
    checkpoint.attach(trainer, Events.EXCEPTION_RAISED)

    @trainer.on(event)
    def fail(engine):
        if engine.state.iteration >= 2:
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        trainer.run([0] * 4, max_epochs=3)
    assert numbers(tmp_path) == []


def test_an_open_group_is_none_to_go_on_from(tmp_path):
    trainer, checkpoint = made(tmp_path, lambda engine, batch: setattr(engine.state, "group_open", True))
    checkpoint.attach(trainer, Events.EXCEPTION_RAISED)
    with pytest.raises(OSError, match="broken batch"):
        trainer.run(failing_at(4), epoch_length=8)
    assert numbers(tmp_path) == []


def test_a_save_that_fails_then_does_not_hide_the_error(tmp_path, caplog):
    trainer, checkpoint = made(tmp_path)
    checkpoint.objects["odd"] = torch.nn.Module()
    checkpoint.objects["odd"].state_dict = lambda: 1 / 0
    checkpoint.attach(trainer, Events.EXCEPTION_RAISED)
    with pytest.raises(OSError, match="broken batch"):
        trainer.run(failing_at(4), epoch_length=8)
    assert "no checkpoint after an error: division by zero" in caplog.text

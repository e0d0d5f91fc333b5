import io
import math

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn

from ignition.engine import build_trainer
from ignition.events import StepEvents
from ignition.handlers import Constant, Cosine, Steps, ValueSchedule, Warmup


def rising(steps, seen, **settings):
    """A number that rises from 0 to 1; every one that is applied is put down."""
    return ValueSchedule(Warmup(steps, start_factor=0.0), seen.append, **settings)


def test_the_first_value_is_there_before_the_first_step_and_then_every_change():
    seen = []
    schedule = rising(4, seen, low=1.0, high=3.0)
    assert seen == [1.0]
    for _ in range(6):
        schedule.step()
    assert seen == [1.0, 1.5, 2.0, 2.5, 3.0]  # not applied again where it stays
    assert (schedule.value, schedule.steps) == (3.0, 6)


def test_ends_are_exact_and_may_be_turned_round():
    seen = []
    for schedule in (Warmup(1, start_factor=0.0), Cosine(1)):
        value = ValueSchedule(schedule, seen.append, low=0.3, high=0.1)
        value.step()
    assert seen == [0.3, 0.1, 0.1, 0.3]


def test_dropout_rises_over_the_steps_of_our_trainer():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    used = []

    def losses(model, batch, progress):
        used.append(round(model[1].p, 3))
        return {"square": model(batch).square().mean()}

    trainer = build_trainer(model, optimizer, losses, accumulate=2)
    warmup = Warmup(4, start_factor=0.0)
    ValueSchedule(warmup, lambda value: setattr(model[1], "p", value), high=0.4).attach(trainer)
    trainer.run([torch.ones(1, 1)] * 5, max_epochs=2)
    # groups of two batches, and the single one at the end of an epoch
    assert used == [0.0, 0.0, 0.1, 0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4]


def test_on_a_foreign_engine_it_follows_the_optimizer_and_a_step_left_out_does_not_count():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    seen = []
    schedule = rising(4, seen)
    schedule.attach(trainer, optimizer)

    @trainer.on(StepEvents.GRADIENTS_READY)
    def leave_out(engine):
        engine.state.skip_step = engine.state.iteration == 2

    trainer.run([(torch.ones(1, 1), torch.ones(1, 1))] * 3)
    assert seen == [0.0, 0.25, 0.5]
    assert schedule.steps == 2


def test_without_the_optimizer_a_foreign_engine_is_refused():
    with pytest.raises(ValueError, match=r"this engine knows no optimizer steps: attach\(engine, optimizer\)"):
        rising(4, []).attach(Engine(lambda engine, batch: None))


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (Events.ITERATION_COMPLETED, [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625]),
        (Events.ITERATION_COMPLETED(every=2), [1.0, 0.5, 0.25, 0.125]),
        (Events.EPOCH_COMPLETED, [1.0, 0.5, 0.25]),
    ],
    ids=["iterations", "every second", "epochs"],
)
def test_the_clock_is_the_event(event, seen):
    applied = []
    trainer = Engine(lambda engine, batch: None)
    ValueSchedule(Steps(every=1, factor=0.5), applied.append).attach(trainer, event=event)
    trainer.run([0] * 3, max_epochs=2)
    assert applied == seen


@pytest.mark.parametrize("cut", range(7))
def test_interrupted_anywhere_it_goes_on_as_the_whole_run(cut):
    whole = []
    schedule = rising(4, whole)
    for _ in range(6):
        schedule.step()

    first, second = [], []
    schedule = rising(4, first)
    for _ in range(cut):
        schedule.step()
    file = io.BytesIO()
    torch.save(schedule.state_dict(), file)
    file.seek(0)
    resumed = rising(4, second)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert second == [0.0, first[-1]]  # applied again, whatever the new object holds
    for _ in range(cut, 6):
        resumed.step()
    assert first[:-1] + second[1:] == whole


def test_steps_of_another_event_are_refused():
    trainer = Engine(lambda engine, batch: None)
    saved = rising(4, [])
    saved.attach(trainer, event=Events.EPOCH_COMPLETED)
    other = rising(4, [])
    other.attach(trainer, event=Events.ITERATION_COMPLETED)
    with pytest.raises(ValueError, match="saved state is of clock 'epoch_completed', this one is of clock 'iteration_"):
        other.load_state_dict(saved.state_dict())
    plain = rising(4, [])  # in a plain loop nobody says what is counted
    plain.load_state_dict(saved.state_dict())
    assert plain.steps == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_ends_the_run_and_names_the_step(bad):
    seen = []
    trainer = Engine(lambda engine, batch: None)
    schedule = ValueSchedule(lambda step: bad if step == 3 else step, seen.append)
    schedule.attach(trainer, event=Events.ITERATION_COMPLETED)
    with pytest.raises(ValueError, match=f"the schedule gives {bad} at step 3; the value would be"):
        trainer.run([0] * 5)
    assert seen == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="gives nan at step 0"):
        ValueSchedule(lambda step: math.nan, seen.append)


def test_ends_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="low is nan; it must be a finite number"):
        ValueSchedule(Constant(), print, low=math.nan)


def test_an_apply_that_fails_is_not_hidden():
    def fail(value):
        if value == 0.5:
            raise OSError("disk")

    trainer = Engine(lambda engine, batch: None)
    schedule = ValueSchedule(Warmup(4, start_factor=0.0), fail)
    schedule.attach(trainer, event=Events.ITERATION_COMPLETED)
    with pytest.raises(OSError, match="disk"):
        trainer.run([0] * 5)
    assert trainer.state.iteration == 2

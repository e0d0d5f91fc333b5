import io
import json
import math

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.engine import build_trainer
from ignition.events import Stop
from ignition.handlers import TimeLimit, time_limit

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch, told_time):
    monkeypatch.setattr(time_limit, "time", told_time)
    return told_time


def training(clock, limit, seconds=HOUR):
    """An engine whose iterations take an hour each."""
    trainer = Engine(lambda engine, batch: clock.sleep(seconds))
    limit.attach(trainer)
    return trainer


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_run_ends_when_its_time_is_up(clock):
    trainer = training(clock, TimeLimit(hours=3))
    trainer.run(range(10))
    assert trainer.state.iteration == 3
    assert trainer.state.stop == Stop("stopped", "time limit of 3 h reached after 3 h 00 min")


def test_a_run_with_time_left_ends_by_itself(clock):
    limit = TimeLimit(hours=10.01)
    trainer = training(clock, limit)
    trainer.run(range(10))
    assert getattr(trainer.state, "stop", None) is None
    assert limit.seconds == 10 * HOUR


def test_time_counts_from_the_start_of_the_run_and_not_from_its_making(clock):
    """ignite's own counts from where it was made: hours of preparation are taken from the training."""
    limit = TimeLimit(hours=3)
    clock.sleep(100 * HOUR)
    trainer = training(clock, limit)
    clock.sleep(100 * HOUR)
    assert trainer.run(range(10)).iteration == 3

    theirs = ignite.handlers.TimeLimit(limit_sec=3 * 3600)
    theirs.start_time -= 100 * HOUR
    other = Engine(lambda engine, batch: None)
    other.add_event_handler(Events.ITERATION_COMPLETED, theirs)
    assert other.run(range(10)).iteration == 1


def test_evaluations_count_and_an_epochs_end_is_never_left_out(clock):
    """The time is up at the last batch of epoch 2. A run resumed from there would never evaluate that epoch."""
    trainer = training(clock, TimeLimit(hours=5))
    evaluated = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine):
        clock.sleep(HOUR)
        evaluated.append(engine.state.epoch)

    trainer.run(range(2), max_epochs=9)
    assert trainer.state.iteration == 4 and evaluated == [1, 2]  # 2 h, 1 h, 2 h: up, and then the evaluation
    assert trainer.state.stop.reason == "time limit of 5 h reached after 6 h 00 min"


def test_a_margin_leaves_time_to_save(clock):
    trainer = training(clock, TimeLimit(hours=8, margin_minutes=30), seconds=20 * 60)
    trainer.run(range(100))
    assert trainer.state.stop.reason == "time limit of 8 h less 30 min reached after 7 h 40 min"


def test_the_time_of_a_run_counts_over_resumes_and_ends_it(clock):
    first = TimeLimit(hours=5)
    trainer = training(clock, first)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate())
    trainer.run(range(10))
    state = through_a_file(first.state_dict())
    assert state == {"seconds": 3 * 3600}

    clock.now = 17.0  # another machine's clock, and what passed between the two counts for nothing
    second = TimeLimit(hours=5)
    second.load_state_dict(state)
    resumed = training(clock, second)
    resumed.load_state_dict({"iteration": 3, "epoch_length": 10, "max_epochs": 1})
    resumed.run(range(10))
    assert resumed.state.iteration == 5
    assert resumed.state.stop == Stop("stopped", "time limit of 5 h reached after 5 h 00 min")

    third = TimeLimit(hours=6)  # more time is more time
    third.load_state_dict(through_a_file(second.state_dict()))
    assert third.reason() is None and third.seconds == 5 * HOUR


def test_the_time_of_a_job_is_its_own_and_the_next_job_goes_on(clock):
    first = TimeLimit(hours=2, per="job")
    trainer = training(clock, first)
    trainer.run(range(10))
    assert trainer.state.stop == Stop("preempted", "time limit of 2 h reached after 2 h 00 min of this job")

    second = TimeLimit(hours=2, per="job")
    second.load_state_dict(through_a_file(first.state_dict()))
    resumed = training(clock, second)
    resumed.load_state_dict({"iteration": 2, "epoch_length": 10, "max_epochs": 1})
    assert resumed.run(range(10)).iteration == 4
    assert second.state_dict() == {"seconds": 4 * 3600}  # the run's, should its limit become one of the run


def test_a_clock_that_is_set_changes_nothing(clock):
    trainer = training(clock, TimeLimit(hours=4))

    @trainer.on(Events.ITERATION_COMPLETED)
    def set_clock(engine):
        clock.wall += 1e8 if engine.state.iteration % 2 else -2e8

    assert trainer.run(range(10)).iteration == 4


def test_a_run_taken_back_does_not_get_its_time_back(clock):
    limit = TimeLimit(hours=6)
    trainer = training(clock, limit)
    saved = {}
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: saved.update(limit.state_dict()))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda engine: limit.load_state_dict(saved))
    assert trainer.run(range(10)).iteration == 6
    assert saved == {"seconds": 2 * 3600}


def test_a_group_of_accumulated_batches_is_finished_first(clock):
    model = nn.Linear(1, 1)

    def losses(model, batch, progress):
        clock.sleep(HOUR)
        return {"square": model(batch).square().mean()}

    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), losses, accumulate=4)
    TimeLimit(hours=5).attach(trainer)
    trainer.run([torch.ones(1, 1)] * 20)
    assert trainer.state.iteration == 8 and not trainer.state.group_open
    assert trainer.state.stop.reason == "time limit of 5 h reached after 8 h 00 min"


def test_a_failure_goes_on_its_way_and_the_time_until_then_counts(clock):
    limit = TimeLimit(hours=9)

    def step(engine, batch):
        clock.sleep(HOUR)
        return 1 / (3 - engine.state.iteration)

    trainer = Engine(step)
    limit.attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run(range(10))
    clock.sleep(50 * HOUR)
    assert limit.state_dict() == {"seconds": 3 * 3600}


def test_time_stands_still_while_a_run_is_interrupted(clock):
    limit = TimeLimit(hours=4)
    trainer = training(clock, limit)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.interrupt())
    trainer.run(range(10))
    clock.sleep(50 * HOUR)
    assert limit.seconds == 2 * HOUR
    trainer.run()
    assert trainer.state.iteration == 5  # the first one after it is not seen to begin


def test_in_a_plain_loop(clock):
    limit = TimeLimit(hours=2)
    limit.start()
    steps = 0
    while not limit.reason():
        clock.sleep(HOUR)
        steps += 1
    limit.stop()
    clock.sleep(HOUR)
    assert steps == 2 and limit.seconds == 2 * HOUR


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hours": 0}, "hours is 0; it must be a number above 0"),
        ({"hours": math.nan}, "hours is nan"),
        ({"hours": math.inf}, "hours is inf"),
        ({"hours": 8, "per": "epoch"}, "per is 'epoch'; it can be 'run'"),
        ({"hours": 1, "margin_minutes": 60}, "margin_minutes is 60; it must be at least 0 and less than the 1 h"),
        ({"hours": 1, "margin_minutes": -1}, "margin_minutes is -1"),
        ({"hours": 1, "margin_minutes": math.nan}, "margin_minutes is nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TimeLimit(**settings)


PROGRAM = """
import json
from types import SimpleNamespace
from ignite.engine import Engine
from ignition import distributed
from ignition.handlers import TimeLimit, time_limit

now = [0.0]
time_limit.time = SimpleNamespace(monotonic=lambda: now[0])

with distributed.process_group("cpu"):
    def step(engine, batch):
        now[0] += 3600.0 if distributed.rank() == 1 else 1.0
    trainer = Engine(step)
    TimeLimit(hours=3).attach(trainer)
    trainer.run(range(10))
    print(json.dumps([trainer.state.iteration, trainer.state.stop.status, trainer.state.stop.reason]))
"""


def test_processes_stop_together_though_only_ones_time_is_up(two_processes):
    one, other = map(json.loads, two_processes(PROGRAM))
    assert one == other == [3, "stopped", "time limit of 3 h reached after 3 h 00 min (process 1)"]

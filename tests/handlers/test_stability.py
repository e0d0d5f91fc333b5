import math

import pytest
import torch
from ignite.engine import Engine

from ignition.events import StabilityEvents, Stop
from ignition.handlers import MetricsLog
from ignition.handlers.stability import Stability, ask_to_stop
from ignition.stability import NAMES, Finding

NAN = math.nan


def watched(losses, every=1, **settings):
    """A trainer whose loss follows the script, watched through a log that brings numbers down every so often."""
    trainer = Engine(lambda engine, batch: torch.tensor(losses[engine.state.iteration - 1]))
    told = []
    stability = Stability(tell=told.append, **settings)
    MetricsLog(stability, every=every).attach(trainer)
    stability.attach(trainer)
    return trainer, stability, told


CALM = [2.0 + 0.1 * (i % 7) for i in range(100)]


def test_each_finding_has_an_event_of_its_name():
    assert [event.value for event in StabilityEvents] == list(NAMES)


def test_a_finding_is_told_and_its_event_fires_in_the_same_iteration():
    trainer, stability, told = watched([*CALM, 60.0, 2.0, 2.0])
    heard = []
    for event in StabilityEvents:
        trainer.add_event_handler(
            event, lambda engine: heard.append((engine.state.finding.name, engine.state.iteration))
        )
    trainer.run(range(103))
    assert heard == [("loss_spike", 101), ("recovered", 102)]
    assert [(row["name"], row["iteration"], row["action"], row["done"]) for row in told] == [
        ("loss_spike", 101, "", ""), ("recovered", 102, "", ""),
    ]  # fmt: skip
    assert told[0]["evidence"]["loss"] == pytest.approx(60.0)
    assert stability.findings == 2


def test_it_comes_as_late_as_the_numbers_do():
    trainer, _, told = watched([*CALM, 60.0, *CALM], every=50)
    trainer.run(range(201))
    assert (told[0]["last"], told[0]["iteration"]) == (101, 150)


def test_the_policy_acts_and_says_what_it_did():
    actions = {"stop": ask_to_stop}
    trainer, _, told = watched([*CALM, NAN, 2.0], policy={"non_finite": "stop"}, actions=actions)
    trainer.run(range(102))
    assert trainer.state.iteration == 101
    assert trainer.state.stop == Stop("stopped", "loss is nan at iteration 101")
    assert (told[0]["action"], told[0]["done"]) == ("stop", "the run ends")


def test_actions_may_ask_for_a_rollback():
    def roll_back(engine, finding):
        from ignition.handlers import Consensus

        Consensus.of(engine).ask("rollback", finding.message)
        return "back"

    trainer, _, _ = watched([*CALM, 60.0, 2.0], policy={"loss_spike": "back"}, actions={"back": roll_back})
    trainer.run(range(102))
    assert (trainer.state.iteration, trainer.state.stop.status) == (101, "rollback")


def test_what_was_found_and_not_told_is_not_lost_by_a_save():
    _, first, _ = watched([])
    for iteration, loss in enumerate([*CALM, NAN], start=1):
        first({"iteration": iteration, "train/batch_loss": loss})
    trainer, second, told = watched([2.0] * 200)
    second.load_state_dict(first.state_dict())
    trainer.load_state_dict({"iteration": 101, "epoch_length": 200, "max_epochs": 1})
    trainer.run(range(200))
    assert [row["name"] for row in told] == ["non_finite", "recovered"]


def test_an_error_of_an_action_goes_on_its_way_and_the_rest_stays():
    def fail(engine, finding):
        raise OSError("disk")

    trainer, stability, _ = watched([*CALM, NAN, 2.0], policy={"non_finite": "fail"}, actions={"fail": fail})
    with pytest.raises(OSError, match="disk"):
        trainer.run(range(102))
    assert trainer.state.iteration == 101
    assert stability.state_dict()["pending"] == []


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"loss_spyke": "stop"}, "policy names 'loss_spyke'; there are: non_finite, non_finite_evaluation, "),
        ({"loss_spike": "explode"}, "policy says 'explode' for loss_spike; actions: stop"),
    ],
)
def test_a_policy_that_nobody_can_follow_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        Stability(policy=policy, actions={"stop": ask_to_stop})


def test_two_processes_hear_of_it_in_the_same_iteration(two_processes):
    """Rows come to process 0 alone; the event fires, and the run stops, on both."""
    answers = two_processes(
        """
import torch
from ignite.engine import Engine, Events
from ignition import distributed
from ignition.events import StabilityEvents
from ignition.handlers import MetricsLog
from ignition.handlers.stability import Stability, ask_to_stop

with distributed.process_group("cpu"):
    losses = [1.0, 1.0, float("nan"), 1.0, 1.0]
    trainer = Engine(lambda engine, batch: torch.tensor(losses[engine.state.iteration - 1]))
    stability = Stability(policy={"non_finite": "stop"}, actions={"stop": ask_to_stop})
    MetricsLog(stability, every=1).attach(trainer)
    stability.attach(trainer)
    trainer.add_event_handler(StabilityEvents.NON_FINITE, lambda engine: print("heard", engine.state.iteration))
    trainer.run(range(5))
    print(trainer.state.iteration, trainer.state.stop.status)
"""
    )
    assert answers == ["heard 3\n3 stopped\n"] * 2


def test_what_nobody_can_act_upon_any_more_is_still_told():
    trainer, stability, told = watched([NAN], policy={"non_finite": "stop"}, actions={"stop": ask_to_stop}, every=99)
    stability({"iteration": 1, "train/batch_loss": NAN})
    more = Finding("non_finite", "critical", "the step was not taken", 4, 4)
    trainer.state.iteration = 4
    stability.end(trainer, more)
    assert [(row["first"], row["iteration"], row["action"]) for row in told] == [(1, 4, ""), (4, 4, "")]
    assert stability.findings == 2
    assert getattr(trainer.state, "stop", None) is None
    stability.end(trainer)
    assert len(told) == 2

import io
import math

import pytest
import torch
from ignite.engine import Engine, Events

from ignition.events import Diverged, Stop, stop
from ignition.handlers import EarlyStopping
from ignition.handlers.improvement import MissingMetric

NAN, INF = math.nan, math.inf


def scripted(scores):
    """A trainer that evaluates after each epoch, and an evaluator whose metric ``loss`` follows the script."""
    trainer = Engine(lambda engine, batch: None)
    evaluator = Engine(lambda engine, batch: None)

    @evaluator.on(Events.COMPLETED)
    def score(engine):
        engine.state.metrics["loss"] = scores[trainer.state.epoch - 1]

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    return trainer, evaluator


def epochs_run(scores, make):
    """How many of the epochs run until what ``make(trainer, evaluator)`` attaches stops them."""
    trainer, evaluator = scripted(scores)
    make(trainer, evaluator)
    return trainer.run([0], max_epochs=len(scores)).epoch


def ours(mode="min", **settings):
    return lambda trainer, evaluator: EarlyStopping("loss", mode, **settings).attach(evaluator, trainer)


@pytest.mark.parametrize(
    ("scores", "settings", "stops_at"),
    [
        ([3, 2, 1, 0.5], {}, None),
        ([3, 3, 3], {}, 3),
        ([3, 2, 2.5, 1, 1, 1], {}, 6),  # an improvement starts the count anew
        ([3, NAN, NAN], {}, 3),  # not finite is never better
        ([NAN, 3, NAN, NAN], {}, 4),
        ([3, -INF, -INF], {}, 3),
        ([1, 2, 3], {"mode": "max"}, None),
        ([3, 2, 1], {"mode": "max"}, 3),
        ([1.0, 0.95, 0.9, 0.85], {"min_delta": 0.07}, 3),  # steps of 0.05 are too small, and do not add up
        ([1.0, 0.95, 0.9, 0.85], {"min_delta": 0.07, "cumulative": True}, None),  # now they do
        ([-10.0, -10.5, -10.9], {"min_delta": 0.1, "relative": True}, 3),
        ([1, 9, 9, 9, 5, 5, 5], {"start": 3}, 7),  # the good score of epoch 1 is not looked at
        ([9, 8, 0.9, 0.5], {"target": 1.0}, 3),
        ([0.1, 0.9, 0.95, 0.99], {"target": 0.95, "mode": "max"}, 3),
    ],
)
def test_stops_after_patience_without_improvement(scores, settings, stops_at):
    assert epochs_run(scores, ours(patience=2, **settings)) == (stops_at or len(scores))


@pytest.mark.parametrize(
    ("scores", "settings", "reason"),
    [
        ([0.5, 0.412, 0.5, 0.6], {}, "val/loss has not improved on 0.412 (epoch 2) for 2 evaluations"),
        ([0.5, 0.49], {"patience": 1, "min_delta": 0.1},
         "val/loss has not improved by more than 0.1 on 0.49 (epoch 2) for 1 evaluation"),
        ([0.5, 0.49], {"patience": 1, "min_delta": 0.1, "relative": True, "cumulative": True},
         "val/loss has not improved by more than 0.1 of its size on 0.5 (epoch 1) for 1 evaluation"),
        ([0.5, NAN, INF], {}, "val/loss has not been finite for 2 evaluations (now inf, epoch 3)"),
        ([0.5, 0.1], {"target": 0.2}, "val/loss reached its target 0.2 with 0.1 (epoch 2)"),
    ],
)  # fmt: skip
def test_the_reason_is_left_on_the_trainer(scores, settings, reason):
    trainer, evaluator = scripted(scores)
    EarlyStopping("val/loss", "min", **{"patience": 2, **settings}).attach(evaluator, trainer)
    trainer.run([0], max_epochs=len(scores))
    assert trainer.state.stop == Stop("stopped", reason)


def test_a_changed_direction_or_metric_does_not_go_unnoticed(caplog):
    saved = EarlyStopping("loss", "min", patience=3).state_dict()
    with pytest.raises(ValueError, match="saved state is of mode 'min', this one is of mode 'max'"):
        EarlyStopping("loss", "max", patience=3).load_state_dict(saved)
    with pytest.raises(ValueError, match="saved state is of metric 'loss', this one is of metric 'epe'"):
        EarlyStopping("epe", "min", patience=3).load_state_dict(saved)
    with caplog.at_level("INFO"):
        EarlyStopping("loss", "min", patience=5).load_state_dict(saved)
    assert "loss: patience is 5 from here on, it was 3" in caplog.text


@pytest.mark.parametrize("cut", range(1, 7))
def test_interrupted_anywhere_it_stops_where_the_whole_run_would(cut):
    scores = [1.0, NAN, 0.9, 0.95, NAN, 0.92, 0.91]
    whole = EarlyStopping("loss", "min", patience=4)
    expected = [whole.update(score, epoch) for epoch, score in enumerate(scores)]
    assert expected.index(True) == 6

    first, second = EarlyStopping("loss", "min", patience=4), EarlyStopping("loss", "min", patience=4)
    for epoch, score in enumerate(scores[:cut]):
        first.update(score, epoch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert [second.update(score, epoch) for epoch, score in enumerate(scores[cut:], start=cut)] == expected[cut:]
    assert second.reason == whole.reason


def test_a_failure_half_way_leaves_what_it_knew():
    trainer, evaluator = scripted([0.5, 0.6, 0.7])
    stopper = EarlyStopping("loss", "min", patience=9)
    stopper.attach(evaluator, trainer)

    @trainer.on(Events.EPOCH_STARTED(once=3))
    def fail(engine):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        trainer.run([0], max_epochs=3)
    assert (stopper.best, stopper.best_place, stopper.waited) == (0.5, "epoch 1", 1)


def test_an_unknown_metric_is_an_error_that_names_the_known_ones():
    trainer, evaluator = scripted([0.5])
    EarlyStopping("val/epe", "min", patience=2).attach(evaluator, trainer)
    with pytest.raises(MissingMetric, match=r"no metric 'val/epe' on this engine \(known: loss\)"):
        trainer.run([0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "lower"}, "mode is 'lower'"),
        ({"patience": 0}, "patience is 0"),
        ({"min_delta": -0.1}, "min_delta is -0.1"),
        ({"min_delta": NAN}, "min_delta is nan"),
        ({"target": INF}, "target is inf"),
        ({"diverged": NAN}, "diverged is nan"),
        (
            {"target": 2.0, "diverged": 1.0},
            "target is 2.0 and diverged is 1.0; with mode 'min' that is no better",
        ),
        ({"unit": "steps"}, "unit is 'steps'; it can be 'evaluations', 'epochs' or 'iterations'"),
        ({"start": -1, "unit": "epochs"}, "start is -1; it counts epochs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping("loss", **{"mode": "min", "patience": 2, **settings})


@pytest.mark.parametrize(
    ("unit", "patience", "places", "stops_after"),
    [
        ("epochs", 10, [5, 10, 15, 20], 3),  # evaluated every five epochs: 10 epochs after the best one
        ("epochs", 11, [5, 10, 15, 20], 4),  # counts what has passed, not how often it was looked
        ("iterations", 500, [100, 400, 600, 900], 3),
    ],
)
def test_patience_in_epochs_or_iterations(unit, patience, places, stops_after):
    stopper = EarlyStopping("loss", "min", patience=patience, unit=unit)
    answers = [stopper.update(1.0, **{unit[:-1]: place}) for place in places[:stops_after]]
    assert answers == [False] * (stops_after - 1) + [True]
    waited = places[stops_after - 1] - places[0]
    assert stopper.reason == f"loss has not improved on 1 ({unit[:-1]} {places[0]}) for {waited} {unit}"


def test_start_is_counted_in_the_same_unit():
    stopper = EarlyStopping("loss", "min", patience=100, unit="iterations", start=1000)
    scores = [(500, 0.1), (1000, 0.1), (1050, 0.9), (1100, 0.9), (1150, 0.9)]
    assert [stopper.update(score, iteration=at) for at, score in scores] == [False, False, False, False, True]
    assert stopper.best == 0.9  # what came before the start is not looked at


def test_the_place_must_be_said_where_patience_counts_in_it():
    with pytest.raises(ValueError, match=r"patience counts iterations: update\(score, iteration=\.\.\.\) has to say"):
        EarlyStopping("loss", "min", patience=5, unit="iterations").update(1.0, epoch=3)


@pytest.mark.parametrize(("mode", "scores", "limit"), [("min", [1, 2, 50, 1], 50), ("max", [9, 5, 0.1, 9], 0.5)])
def test_a_score_beyond_the_limit_is_a_failure_and_no_success(mode, scores, limit):
    trainer, evaluator = scripted(scores)
    EarlyStopping("loss", mode, patience=9, diverged=limit).attach(evaluator, trainer)
    with pytest.raises(Diverged, match=rf"loss is {scores[2]} \(epoch 3\), as bad as {limit} or worse"):
        trainer.run([0], max_epochs=4)
    assert getattr(trainer.state, "stop", None) is None


class Counting(torch.nn.Module):
    """Its weight is the number of epochs that it was trained for."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


def counted(scores, patience, resume=None, until=None):
    """A run whose model counts epochs: what its weight is at the end, and the stopper's state."""
    model, (trainer, evaluator) = Counting(), scripted(scores)
    stopper = EarlyStopping("loss", "min", patience=patience)
    stopper.attach(evaluator, trainer, restore_best=model)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: model.weight.data.fill_(engine.state.epoch))
    if resume is not None:
        stopper.load_state_dict(resume)
        trainer.load_state_dict({"epoch_length": 1, "max_epochs": len(scores), "iteration": until})
    elif until is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=until), lambda engine: stop(engine, "bye", "preempted"))
    trainer.run([0], **({"max_epochs": len(scores)} if resume is None else {}))
    return model.weight.item(), stopper.state_dict()


def test_the_best_weights_come_back_at_the_end():
    assert counted([3, 1, 2, 2, 2], patience=2)[0] == 2.0  # stopped
    assert counted([3, 1, 2], patience=9)[0] == 2.0  # all epochs done
    assert counted([NAN, NAN, NAN], patience=9)[0] == 3.0  # there was no best


def test_the_best_weights_of_an_interrupted_run_are_known_to_the_one_that_goes_on():
    weight, state = counted([3, 1, 2, 2, 2], patience=2, until=3)
    assert weight == 3.0  # interrupted to go on: what is saved has to be the model that was trained
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    assert counted([3, 1, 2, 2, 2], patience=2, resume=torch.load(file, weights_only=True), until=3)[0] == 2.0


def test_weights_that_were_not_kept_are_told_about(caplog):
    state = EarlyStopping("loss", "min", patience=2)
    state.update(1.0, 1)
    trainer, evaluator = scripted([1])
    stopper = EarlyStopping("loss", "min", patience=2)
    stopper.attach(evaluator, trainer, restore_best=Counting())
    stopper.load_state_dict(state.state_dict())
    assert "the best weights (loss 1, epoch 1) were not kept" in caplog.text


def test_two_processes_stop_together_though_their_own_scores_differ(two_processes):
    answers = two_processes(
        """
from ignite.engine import Engine, Events
from ignition import distributed
from ignition.handlers import EarlyStopping

with distributed.process_group("cpu"):
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    scores = [5, 4, 4, 4, 4] if distributed.rank() == 0 else [5, 4, 3, 2, 1]
    @evaluator.on(Events.COMPLETED)
    def score(engine):
        engine.state.metrics["loss"] = scores[trainer.state.epoch - 1]
    EarlyStopping("loss", "min", patience=2).attach(evaluator, trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    trainer.run([0], max_epochs=5)
    print(trainer.state.epoch, trainer.state.stop.reason)
"""
    )
    assert answers == ["4 loss has not improved on 4 (epoch 2) for 2 evaluations\n"] * 2

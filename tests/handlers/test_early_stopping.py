import io
import math

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events

from ignition.events import Stop
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


def ignites(mode="min", **settings):
    def attach(trainer, evaluator):
        ignite.handlers.EarlyStopping(
            score_function=lambda engine: engine.state.metrics["loss"], trainer=trainer, mode=mode, **settings
        ).attach(evaluator)

    return attach


def ignites_without_reset(mode="min", **settings):
    """As add_event_handler attaches it: past V1, to show the faults behind it."""

    def attach(trainer, evaluator):
        handler = ignite.handlers.EarlyStopping(
            score_function=lambda engine: engine.state.metrics["loss"], trainer=trainer, mode=mode, **settings
        )
        evaluator.add_event_handler(Events.COMPLETED, handler)

    return attach


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
        ([1, 9, 9, 9, 5, 5, 5], {"start_epoch": 4}, 7),  # the good score of epoch 1 is not looked at
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


def test_v1_evaluations_do_not_reset_the_count():
    scores = [1.0] + [2.0] * 9
    assert epochs_run(scores, ignites(patience=3)) == 10  # its attach resets at each evaluation: it never stops
    assert epochs_run(scores, ours(patience=3)) == 4


def test_v2_not_finite_is_no_improvement():
    scores = [NAN] * 10
    assert epochs_run(scores, ignites_without_reset(patience=3)) == 10
    assert epochs_run(scores, ours(patience=3)) == 3


def test_v3_relative_threshold_with_negative_scores():
    scores = [-1.0 - 0.01 * epoch for epoch in range(8)]  # worse each time, where more is better
    rule = {"patience": 3, "mode": "max"}
    assert epochs_run(scores, ignites_without_reset(**rule, threshold=0.1, threshold_mode="rel")) == 8
    assert epochs_run(scores, ours(**rule, min_delta=0.1, relative=True)) == 4


def test_v4_a_resumed_run_remembers_how_long_it_has_waited():
    scores = [1.0] + [2.0] * 9

    def stops_at(make, **where):
        trainer, evaluator = scripted(scores)
        handler = make(trainer)
        handler.attach(evaluator, **{key: trainer for key in where})
        handler.load_state_dict(saved[type(handler)])
        trainer.load_state_dict({"epoch_length": 1, "max_epochs": 10, "iteration": 3})
        return trainer.run([0]).epoch

    saved = {
        ignite.handlers.EarlyStopping: {"counter": 2, "best_score": 1.0, "threshold_mode": "abs"},
        EarlyStopping: {
            "metric": "loss", "mode": "min", "patience": 4, "best": 1.0, "best_epoch": 1, "waited": 2, "non_finite": 0,
        },
    }  # fmt: skip

    def theirs(trainer):
        return ignite.handlers.EarlyStopping(4, lambda engine: engine.state.metrics["loss"], trainer, mode="min")

    assert stops_at(theirs, reset_engine=True) == 8  # STARTED fires again on a resume and wipes what was loaded
    assert stops_at(lambda trainer: EarlyStopping("loss", "min", patience=4), trainer=True) == 5


def test_v5_a_changed_direction_or_metric_does_not_go_unnoticed(caplog):
    trainer = Engine(lambda engine, batch: None)
    theirs = ignite.handlers.EarlyStopping(3, lambda engine: 0.0, trainer, mode="min")
    ignite.handlers.EarlyStopping(3, lambda engine: 0.0, trainer, mode="max").load_state_dict(theirs.state_dict())

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
    assert (stopper.best, stopper.best_epoch, stopper.waited) == (0.5, 1, 1)


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
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping("loss", **{"mode": "min", "patience": 2, **settings})

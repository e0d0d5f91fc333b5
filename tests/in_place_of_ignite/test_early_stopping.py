import math

import ignite.handlers
import pytest
from ignite.engine import Engine, Events

from ignition.handlers import EarlyStopping

NAN = math.nan


def ours(evaluator, trainer, *, patience, mode="min", share=None):
    stopper = EarlyStopping("loss", mode, patience=patience, min_delta=share or 0.0, relative=share is not None)
    stopper.attach(evaluator, trainer)
    return stopper


def ignites(evaluator, trainer, *, patience, mode="min", share=None):
    """As its documentation attaches it."""
    relative = {"threshold": share, "threshold_mode": "rel"} if share else {}
    stopper = ignite.handlers.EarlyStopping(
        patience, lambda engine: engine.state.metrics["loss"], trainer, mode=mode, **relative
    )
    evaluator.add_event_handler(Events.COMPLETED, stopper)
    return stopper


def ignites_attached(evaluator, trainer, *, patience):
    stopper = ignite.handlers.EarlyStopping(patience, lambda engine: engine.state.metrics["loss"], trainer, mode="min")
    stopper.attach(evaluator)
    return stopper


def ignites_attached_to_both(evaluator, trainer, *, patience):
    """What its docstring says against V1."""
    stopper = ignite.handlers.EarlyStopping(patience, lambda engine: engine.state.metrics["loss"], trainer, mode="min")
    stopper.attach(evaluator, reset_engine=trainer)
    return stopper


def scripted(scores):
    """A trainer that evaluates after each epoch, and the evaluator, whose metric ``loss`` follows the script."""
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update(loss=scores[trainer.state.epoch - 1])
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    return trainer, evaluator


def epochs_run(make, scores, **settings):
    trainer, evaluator = scripted(scores)
    make(evaluator, trainer, **settings)
    return trainer.run([0], max_epochs=len(scores)).epoch


@pytest.mark.in_place_of("V1", ours, ignites_attached, there="assert 30 == 4")
def test_an_evaluation_does_not_reset_the_count(make):
    assert epochs_run(make, [1.0] + [2.0] * 29, patience=3) == 4


@pytest.mark.in_place_of("V2", ours, ignites, there="assert 10 == 3")
def test_a_run_of_nothing_but_nan_is_stopped(make):
    assert epochs_run(make, [NAN] * 10, patience=3) == 3


@pytest.mark.in_place_of("V2", ours, ignites, there="assert nan == 1.0")
def test_nan_does_not_become_the_best(make):
    trainer, evaluator = scripted([1.0, NAN])
    stopper = make(evaluator, trainer, patience=3)
    trainer.run([0], max_epochs=2)
    assert getattr(stopper, "best_score", getattr(stopper, "best", None)) == 1.0


@pytest.mark.in_place_of("V3", ours, ignites, there="assert 8 == 4")
def test_a_relative_threshold_means_the_same_for_negative_scores(make):
    worse_and_worse = [-1.0 - 0.01 * epoch for epoch in range(8)]  # where more is better
    assert epochs_run(make, worse_and_worse, patience=3, mode="max", share=0.1) == 4


@pytest.mark.in_place_of("V4", ours, ignites_attached_to_both, there="assert 8 == 5")
def test_a_resumed_run_remembers_how_long_it_has_waited(make):
    scores = [1.0] + [2.0] * 9
    trainer, evaluator = scripted(scores)
    stopper = make(evaluator, trainer, patience=4)
    trainer.run([0], max_epochs=3)

    resumed, evaluator = scripted(scores)
    make(evaluator, resumed, patience=4).load_state_dict(stopper.state_dict())
    resumed.load_state_dict({"epoch_length": 1, "max_epochs": 10, "iteration": 3})
    assert resumed.run([0]).epoch == 5


@pytest.mark.in_place_of("V5", ours, ignites, there="DID NOT RAISE", raises=pytest.fail.Exception)
def test_a_state_of_the_other_direction_is_refused(make):
    trainer, evaluator = scripted([])
    lower = make(evaluator, trainer, patience=3, mode="min")
    with pytest.raises(ValueError, match="mode 'min'"):
        make(evaluator, trainer, patience=3, mode="max").load_state_dict(lower.state_dict())

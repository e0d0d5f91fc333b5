import copy
import random
import sys

import numpy as np
import pytest
import torch
from ignite.engine import Events

from ignition.config import load_config
from ignition.incidents.trial import Trials
from ignition.lifecycle import stand_at
from ignition.recipe import load_recipe
from ignition.rundir import RunFolder
from ignition.training import Training

from .conftest import COMMON


@pytest.fixture
def training(recipe):
    sys.path_importer_cache.clear()
    recipe_class = load_recipe(recipe)

    def build(*settings):
        words = [*COMMON, "recipe.norm=true", "clip.kind=zclip", *settings]
        config = load_config(None, overrides=words, recipe_settings=recipe_class.Settings)
        built = Training(recipe_class(config.recipe, config.data), config, RunFolder.create_at("scratch"))
        stand_at(built, 0)
        built.trainer.state.epoch = 1
        return built

    return build


def everything(training):
    """All that a trial could have changed."""
    gradients = [None if p.grad is None else p.grad.clone() for p in training.model.parameters()]
    return copy.deepcopy([
        training.model.state_dict(), training.optimizer.state_dict(), training.clipping.state_dict(), gradients,
        [module.training for module in training.model.modules()], vars(training.trainer._process_function)["_full"],
        torch.get_rng_state(), random.getstate(), np.random.get_state(), training.trainer.state.iteration,
        training.learning_rate.state_dict(), training.guard.state_dict(),
    ])  # fmt: skip


def same(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(np.array_equal(np.asarray(one), np.asarray(two))) if one is not None else two is None


@pytest.mark.parametrize("settings", [[], ["trainer.accumulate=2"], ["recipe.odd=3"]])
def test_after_a_trial_nothing_has_happened(training, settings):
    built = training(*settings)
    trials = Trials(built, lambda iteration: built.optimizer.param_groups[0].update(lr=7.0))
    before = everything(built)
    group = [[0, 1, 2, 3], [4, 5, 6, 7]][: built.config.trainer.accumulate]
    trials.group(group, 1)
    trials.alone([3, 4, 5], 1)
    assert same(everything(built), before)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        trials.alone([3], 1)
    assert same(everything(built), before)


def test_a_trial_is_the_step_that_the_run_takes(training):
    built = training("recipe.norm=false", "clip.kind=none")
    rows = []
    built.log.writers[:] = [rows.append]
    built.log.every = 1
    batch = built.data.sampler.indices(0, 0)
    trial = Trials(built, lambda iteration: None).group([batch], 1)
    before = {name: value.clone() for name, value in built.model.named_parameters()}
    built.trainer.state.epoch = 0
    built.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.terminate())
    with built.signals:
        built.trainer.run(built.data.loader, max_epochs=1)
    assert trial.losses == (rows[0]["train/batch_loss"],)
    assert trial.terms == {name: rows[0][f"train/loss/{name}"] for name in ("square", "offset")}
    assert trial.gradient_norm == rows[0]["train/gradient_norm"]
    for name, value in built.model.named_parameters():
        assert trial.layers[name]["update"] == (value - before[name]).norm().item()
        assert trial.layers[name]["weight"] == before[name].norm().item()
    norms = [layer["gradient"] for layer in trial.layers.values()]
    assert np.linalg.norm(norms) == pytest.approx(trial.gradient_norm)


def test_alone_a_sample_counts_as_much_as_a_batch(training):
    built = training("recipe.norm=false", "trainer.accumulate=2")
    trials = Trials(built, lambda iteration: None)
    built.model[1].p = 0.0
    one, same_twice = trials.alone([5], 1), trials.alone([5, 5], 1)
    assert one.gradient_norm == pytest.approx(same_twice.gradient_norm, rel=0.1)  # each has augmentation of its own
    assert one.finite


def test_a_step_that_is_not_finite_has_no_update(training):
    built = training("recipe.odd=3")
    trial = Trials(built, lambda iteration: None).group([[2, 3]], 1)
    assert not trial.finite
    assert all("update" not in layer and "gradient" in layer for layer in trial.layers.values())

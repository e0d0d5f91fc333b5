"""From settings to parts, where recipe, config and machine have to fit together."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ignition import assembly
from ignition.assembly import AssemblyError
from ignition.config import load_config
from ignition.handlers.learning_rate import LearningRate
from ignition.precision import Precision
from ignition.recipe import Splits


def config(*overrides):
    return load_config(None, overrides=overrides)


def test_channels_last_lays_out_2d_weights_and_leaves_the_others():
    recipe = SimpleNamespace(model=lambda: nn.ModuleList([nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Linear(4, 4)]))
    model = assembly.build_model(recipe, config(), Precision("cpu", channels_last=True))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous()


def test_a_model_begins_from_the_seed_whatever_was_drawn_before():
    recipe = SimpleNamespace(model=lambda: nn.Linear(3, 3))
    first = assembly.build_model(recipe, config("trainer.seed=3"), Precision()).weight
    torch.rand(5)
    assert torch.equal(assembly.build_model(recipe, config("trainer.seed=3"), Precision()).weight, first)
    assert not torch.equal(assembly.build_model(recipe, config("trainer.seed=4"), Precision()).weight, first)


def test_an_evaluation_does_not_touch_training_data():
    def forbidden():
        raise AssertionError("was read")

    splits = assembly.build_splits(SimpleNamespace(datasets=lambda: Splits(train=forbidden, val=[1])), training=False)
    assert splits.val == [1]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (Splits(train=[], val=[1]), "the train data is empty"),
        (Splits(train=[1], val=lambda: []), "the val data is empty"),
        ([1], "must return ignition.recipe.Splits"),
    ],
)
def test_data_that_is_none_is_named(splits, message):
    with pytest.raises(AssemblyError, match=message):
        assembly.build_splits(SimpleNamespace(datasets=lambda: splits))


@pytest.mark.parametrize(
    ("overrides", "first", "last"),
    [
        ([], 1.0, 1.0),
        (["schedule.name=one_cycle"], 1 / 25, 4e-6),
        (["schedule={name: cosine, warmup_epochs: 1, warmup_start_factor: 0.1, floor_factor: 0.2}"], 0.1, 0.2),
        (["schedule={name: plateau, warmup_epochs: 2}"], 0.01, 1.0),
    ],
    ids=["constant", "one_cycle", "cosine", "plateau"],
)
def test_a_schedule_spans_the_whole_run_in_optimizer_steps(overrides, first, last):
    settings = config("trainer.epochs=5", "optimizer.lr=0.5", *overrides)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    rate = LearningRate(optimizer, assembly.schedule_of(settings, epoch_steps=8))
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(5 * 8):
        rate.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.5 * first, rel=1e-6)
    assert rates[-1] == pytest.approx(0.5 * last, rel=1e-6)
    assert max(rates) == pytest.approx(0.5)


def test_weights_of_another_model_are_refused_by_name():
    with pytest.raises(AssemblyError, match=r"best.pt: the weights are of another model: .*weight"):
        assembly.load_weights(nn.Linear(2, 1), nn.Linear(3, 1).state_dict(), "best.pt")

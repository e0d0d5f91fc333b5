"""The recipe's model as it is trained, and a checkpoint's weights in it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ignition import assembly
from ignition.assembly import AssemblyError
from ignition.config import load_config
from ignition.precision import Precision


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


def test_weights_of_another_model_are_refused_by_name():
    with pytest.raises(AssemblyError, match=r"best.pt: the weights are of another model: .*weight"):
        assembly.load_weights(nn.Linear(2, 1), nn.Linear(3, 1).state_dict(), "best.pt")


@pytest.mark.parametrize(("metric", "expected"), [("val/epe", 1.0), ("val/ema/epe", 2.0), ("ema/epe", 2.0)])
def test_the_weights_are_those_that_the_checkpoint_was_chosen_by(metric, expected):
    payload = {"model": {"w": torch.tensor(1.0)}, "ema": {"module": {"w": torch.tensor(2.0)}}}
    assert assembly.chosen_weights(config(f"checkpoint.metric={metric}"), payload)["w"] == expected

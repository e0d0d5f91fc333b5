"""From the config's clipping and average to handlers."""

import pytest
import torch
from torch import nn

from ignition import assembly
from ignition.assembly import AssemblyError
from ignition.config import load_config
from ignition.handlers import AGC, AutoClip, MaxNorm, MaxValue, ZClip


def config(*overrides):
    return load_config(None, overrides=overrides)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ("clip=null", type(None)),
        ("clip={kind: norm, max_norm: 2.0}", MaxNorm),
        ("clip={kind: value, max_value: 2.0}", MaxValue),
        ("clip={kind: agc}", AGC),
        ("clip={kind: autoclip}", AutoClip),
        ("clip={kind: zclip}", ZClip),
    ],
)
def test_each_kind_of_clipping_is_its_rule(settings, rule):
    clipping = assembly.clipping_of(config(settings, "logging.shadow_clipping=[norm, zclip]"), nn.Linear(1, 1))
    assert type(clipping.rule) is rule
    assert list(clipping.shadows) == ["maxnorm", "zclip"]


def test_adaptive_clipping_leaves_out_the_parameters_that_a_pattern_finds():
    model = nn.ModuleDict({"trunk": nn.Linear(2, 2, bias=False), "head": nn.Linear(2, 2, bias=False)})
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1000.0)
    assembly.clipping_of(config("clip={kind: agc, skip: ['^head']}"), model).clip(model.parameters())
    assert model["head"].weight.grad.max() == 1000.0
    assert model["trunk"].weight.grad.norm() < 1.0


def test_a_pattern_that_finds_nothing_is_an_error():
    with pytest.raises(AssemblyError, match=r"clip\.skip: '\^haed' is found in no parameter's name, such as weight"):
        assembly.clipping_of(config("clip={kind: agc, skip: ['^haed']}"), nn.Linear(1, 1))


def test_an_average_is_made_where_it_is_asked_for():
    assert assembly.average_of(config(), nn.Linear(1, 1)) is None
    average = assembly.average_of(config("ema={decay: 0.9, warmup: false}"), nn.Linear(1, 1))
    assert (average.decay, average.warmup) == (0.9, False)

"""Optimizers by name and what they decay."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ignition.optimizer import build_optimizer, options_of, set_options


@dataclass
class Rule:
    pattern: str
    lr: float | None = None
    weight_decay: float | None = None


def model():
    return nn.ModuleDict({"backbone": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "head": nn.Linear(4, 2)})


def groups(optimizer, network):
    names = {p: name for name, p in network.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        found.setdefault((group["lr"], group["weight_decay"]), []).extend(names[p] for p in group["params"])
    return {key: sorted(names) for key, names in found.items()}


def test_norms_and_biases_are_not_decayed():
    network = model()
    optimizer = build_optimizer(network, "AdamW", lr=0.1, weight_decay=0.01)
    assert groups(optimizer, network) == {
        (0.1, 0.01): ["backbone.weight", "head.weight"],
        (0.1, 0.0): ["backbone.bias", "head.bias", "norm.bias", "norm.weight"],
    }
    assert len(build_optimizer(network, "AdamW", lr=0.1, weight_decay=0.01, decay_norms=True).param_groups) == 1


def test_the_number_of_groups_does_not_depend_on_rates_and_decays():
    counts = [
        len(
            build_optimizer(
                model(), "AdamW", lr=0.1, weight_decay=decay, groups=[Rule("^backbone", lr=rate)]
            ).param_groups
        )
        for decay, rate in ((0.0, 0.1), (0.01, 0.1), (0.01, 0.02))
    ]
    assert counts == [4, 4, 4]


def test_a_backbone_has_a_rate_of_its_own_and_frozen_parameters_are_left_out():
    network = model()
    network["norm"].requires_grad_(False)
    optimizer = build_optimizer(network, "SGD", lr=0.1, groups=[Rule("^backbone", lr=0.01)], options={"momentum": 0.9})
    assert groups(optimizer, network) == {
        (0.01, 0.0): ["backbone.bias", "backbone.weight"],
        (0.1, 0.0): ["head.bias", "head.weight"],
    }


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"name": "adamw"}, "Did you mean 'AdamW'"),
        ({"name": "Foo"}, "There are: .*Adam"),
        ({"name": "Adam", "options": {"momentum": 0.9}}, "Adam has no option 'momentum'"),
        ({"name": "SGD", "options": {"nesterov": True}}, "SGD refuses its settings"),
        ({"name": "LBFGS"}, "calls the model itself"),
        ({"name": "Adam", "groups": [Rule("decoder")]}, "no trainable parameter matches \\['decoder'\\]"),
    ],
)
def test_what_cannot_be_built_says_why(keywords, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(model(), lr=0.1, **keywords)


@pytest.mark.parametrize("name", ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"])
def test_any_torch_optimizer_takes_a_step(name):
    network = nn.Linear(2, 1)
    optimizer = build_optimizer(network, name, lr=0.1, weight_decay=0.01)
    before = network.weight.clone()
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(network.weight, before)


def test_a_loaded_state_brings_other_options_and_the_own_ones_can_be_given_back():
    saved = build_optimizer(model(), "AdamW", lr=1e-3, weight_decay=0.1)
    own = build_optimizer(model(), "AdamW", lr=5e-4, weight_decay=0.3)
    options = options_of(own)
    own.load_state_dict(saved.state_dict())
    assert set_options(own, options) == ["weight_decay=0.3 (was 0.1)"]
    assert {group["weight_decay"] for group in own.param_groups} == {0.3, 0.0}
    assert {group["lr"] for group in own.param_groups} == {1e-3}  # the schedule's business
    assert set_options(own, options) == []

"""Which units count as dead, and that hooks are there only while an evaluation runs."""

import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.handlers import UnitActivity


def rows_of(weights):
    """A linear layer without a bias, [inputs] to [units], with these rows."""
    layer = nn.Linear(len(weights[0]), len(weights), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
    return layer


def counted(model, *batches, **settings):
    activity = UnitActivity(model, **settings)
    activity.start()
    for batch in batches:
        model(torch.as_tensor(batch))
    return activity.stop()


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardsigmoid()])
def test_a_unit_is_dead_that_fires_for_no_sample_of_any_batch(activation):
    model = nn.Sequential(rows_of([[9.0, 0.0], [-9.0, 0.0], [0.0, 9.0]]), activation)
    off = [[1.0, -1.0], [2.0, -1.0]]
    assert counted(model, off) == {"1": [2, 3]}
    assert counted(model, off, [[1.0, 1.0]]) == {"1": [1, 3]}


def test_a_channel_that_fires_at_one_position_is_alive():
    image = torch.full((2, 3, 4, 4), -1.0)
    image[1, 1, 3, 3] = 0.5
    assert counted(nn.Sequential(nn.ReLU()), image) == {"0": [2, 3]}
    assert counted(nn.Sequential(nn.ReLU()), image.movedim(1, -1), dim=-1) == {"0": [2, 3]}


def test_a_negative_output_is_one_that_fires():
    assert counted(nn.Sequential(nn.Hardswish()), [[-1.0, -5.0, 1.0]]) == {"0": [1, 3]}


def test_numbers_that_are_not_finite_fire():
    assert counted(nn.Sequential(nn.ReLU()), [[math.nan, -1.0, math.inf]]) == {"0": [1, 3]}


class Shared(nn.Module):
    """One activation at two places of 2 channels each, and at one of 3."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        self.relu(x.clone())
        self.relu(torch.tensor([[-1.0, -1.0]]))
        self.relu(torch.tensor([[-1.0, -1.0, 1.0]]))


def test_a_unit_is_alive_that_fires_at_any_place_where_the_module_is_called():
    assert counted(Shared(), [[1.0, -1.0]]) == {"relu": [1 + 2, 2 + 3]}


def test_activations_that_are_functions_are_not_seen_and_vectors_have_no_channels():
    assert counted(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), [[1.0, 1.0]]) == {}
    assert counted(nn.Sequential(nn.ReLU()), [1.0, -1.0]) == {}
    assert counted(nn.Sequential(nn.ReLU()), torch.zeros(0, 3)) == {}


def test_compiled_modules_are_left_alone_and_that_is_said_once(caplog):
    inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model = nn.Sequential(nn.ReLU(), inner)
    inner.compile(backend="eager")
    activity = UnitActivity(model)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            activity.start()
            model(torch.tensor([[1.0, -1.0]]))
            assert activity.stop() == {"0": [1, 2]}
    assert caplog.text.count("not measured within compiled modules") == 1
    whole = torch.compile(nn.Sequential(nn.ReLU()), backend="eager")
    assert counted(whole, [[1.0]]) == {}
    assert hooks(whole) == 0


def test_no_graph_is_kept():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    activity = UnitActivity(model)
    activity.start()
    model(torch.ones(1, 2)).sum().backward()  # with gradients, as nobody evaluates
    assert [highest.requires_grad for highest in activity._highest.values()] == [False]


def engines(model, told):
    evaluator, trainer = Engine(lambda engine, batch: model(batch)), Engine(lambda engine, batch: model(batch))
    UnitActivity(model, told.append).attach(evaluator, trainer)
    return evaluator, trainer


def test_each_evaluation_is_told_at_the_trainers_iteration_and_forgets_the_one_before():
    model, told = nn.Sequential(nn.ReLU()), []
    evaluator, trainer = engines(model, told)
    trainer.run([torch.ones(1, 2)] * 3, max_epochs=2)  # is not looked at
    assert told == []
    evaluator.run([torch.tensor([[1.0, -1.0]])])
    evaluator.run([torch.tensor([[-1.0, -1.0]])])
    assert told == [
        {"iteration": 6, "epoch": 2, "units": {"0": [1, 2]}},
        {"iteration": 6, "epoch": 2, "units": {"0": [2, 2]}},
    ]
    assert hooks(model) == 0


def test_an_evaluation_cut_short_tells_nothing():
    model, told = nn.Sequential(nn.ReLU()), []
    evaluator, _ = engines(model, told)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.terminate(skip_completed=True))
    evaluator.run([torch.ones(1, 2)] * 2)
    assert told == []
    assert hooks(model) == 0


def test_training_that_goes_on_after_an_evaluation_has_failed_is_not_looked_at():
    model, told = nn.Sequential(nn.ReLU()), []
    evaluator, trainer = engines(model, told)
    with pytest.raises(TypeError):
        evaluator.run([torch.ones(1, 2), "no tensor"])
    assert hooks(model) == 1
    trainer.run([torch.ones(1, 2)])
    assert hooks(model) == 0
    assert told == []


def test_a_unit_that_fires_on_one_of_two_processes_is_alive(two_processes):
    program = """
import torch
from torch import nn
from ignition import distributed
from ignition.handlers import UnitActivity
with distributed.process_group("cpu"):
    model, rank = nn.Sequential(nn.ReLU(), nn.ReLU6()), distributed.rank()
    activity = UnitActivity(model)
    activity.start()
    model(torch.tensor([[1.0 - 2 * rank, 2.0 * rank - 1, -1.0]]))
    print(activity.stop())
    activity.start()
    if rank:  # the other one has no batch
        model(torch.tensor([[1.0, -1.0, -1.0]]))
    print(activity.stop())
"""
    assert two_processes(program) == ["{'0': [1, 3], '1': [1, 3]}\n{'0': [2, 3], '1': [2, 3]}\n"] * 2

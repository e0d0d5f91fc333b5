import math

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR

from ignition.handlers import Constant, InSequence, LearningRate, OneCycle, Plateau, Steps


class World:
    """An optimizer with two groups, a trainer that steps it, and an evaluator whose ``loss`` never gets better."""

    def __init__(self, lr):
        self.optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))]} for _ in range(2)], lr=lr)
        self.trainer = Engine(lambda engine, batch: self.optimizer.step())
        self.evaluator = Engine(lambda engine, batch: None)
        self.evaluator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(loss=1.0))

    rates = property(lambda self: [group["lr"] for group in self.optimizer.param_groups])

    def train(self, iterations):
        """The first group's rate at each step, and the one that the run ends with."""
        seen = []
        self.optimizer.register_step_pre_hook(lambda *arguments: seen.append(self.rates[0]))
        self.trainer.run([0] * iterations)
        return seen

    def evaluate(self, times):
        for _ in range(times):
            self.evaluator.run([0])


def plateau(world, **settings):
    Plateau(LearningRate(world.optimizer, Constant()), metric="loss", mode="min", **settings).attach(world.evaluator)


def ignites_plateau(world, **settings):
    scheduler = ignite.handlers.ReduceLROnPlateauScheduler(world.optimizer, "loss", **settings)
    world.evaluator.add_event_handler(Events.COMPLETED, scheduler)


@pytest.mark.in_place_of("V19", plateau, ignites_plateau, there=r"assert \[1e-08, 1e-08\] == \[0.1, 0.1\]")
def test_the_floor_of_a_plateau_holds(make):
    world = World(lr=1.0)
    make(world, patience=0, min_lr=0.1)
    world.evaluate(9)
    assert [round(rate, 10) for rate in world.rates] == [0.1, 0.1]


def plateau_of_the_second(world, *, patience, floor):
    plateau(world, patience=patience, min_lr=[1.0, floor])


def ignites_plateau_of_the_second(world, *, patience, floor):
    ignites_plateau(world, patience=patience, min_lr=floor, param_group_index=1)


@pytest.mark.in_place_of(
    "V19", plateau_of_the_second, ignites_plateau_of_the_second, there=r"assert \[1.0, 1e-08\] == \[1.0, 0.1\]"
)
def test_the_floor_of_a_plateau_of_the_second_group_holds(make):
    world = World(lr=1.0)
    make(world, patience=0, floor=0.1)
    world.evaluate(9)
    assert [round(rate, 10) for rate in world.rates] == [1.0, 0.1]


def in_sequence(world):
    schedule = InSequence((Steps(every=1, factor=0.5), 2), (Constant(), math.inf))
    LearningRate(world.optimizer, schedule).attach(world.trainer)


def ignites_sequence(world):
    parts = [StepLR(world.optimizer, 1, gamma=0.5), ConstantLR(world.optimizer, factor=1.0)]
    scheduler = ignite.handlers.LRScheduler(SequentialLR(world.optimizer, parts, milestones=[2]))
    world.trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)


@pytest.mark.in_place_of("V20", in_sequence, ignites_sequence, there="^$", raises=NotImplementedError)
def test_schedules_one_after_another(make):
    world = World(lr=1.0)
    make(world)
    assert world.train(4) == [1.0, 0.5, 1.0, 1.0]


def ignites_wrapped_plateau(world, *, patience):
    scheduler = ignite.handlers.LRScheduler(ReduceLROnPlateau(world.optimizer, patience=patience))
    world.evaluator.add_event_handler(Events.COMPLETED, scheduler)


@pytest.mark.in_place_of("V20", plateau, ignites_wrapped_plateau, there="^$", raises=NotImplementedError)
def test_a_plateau_as_a_handler(make):
    world = World(lr=1.0)
    make(world, patience=0)
    world.evaluate(2)
    assert world.rates == [0.1, 0.1]


def one_cycle(world):
    LearningRate(world.optimizer, OneCycle(10)).attach(world.trainer)


def ignites_one_cycle(world):
    scheduler = OneCycleLR(world.optimizer, max_lr=0.05, total_steps=10, cycle_momentum=False)
    world.trainer.add_event_handler(Events.ITERATION_STARTED, ignite.handlers.LRScheduler(scheduler))


@pytest.mark.in_place_of("V20", one_cycle, ignites_one_cycle, there="assert 0.002475968399 == 2e-07")
def test_one_step_past_its_end_a_one_cycle_is_where_it_ended(make):
    world = World(lr=0.05)
    make(world)
    last = round(world.train(11)[-1], 12)
    assert last == 2e-07


@pytest.mark.in_place_of("V20", one_cycle, ignites_one_cycle, there="Tried to step 11 times", raises=ValueError)
def test_a_run_may_be_longer_than_its_one_cycle(make):
    world = World(lr=0.05)
    make(world)
    assert len(world.train(12)) == 12

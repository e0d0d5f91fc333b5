import contextlib
import math

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.handlers import LearningRateFinder

NAN = math.nan


class Ours:
    """A search over as many rates as ``losses`` has; each step changes the model's weight, which is 0 before."""

    def __init__(self, losses):
        self.losses = losses
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.trainer = Engine(self.step)
        self.epochs = 0
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.count_epoch)

    def step(self, engine, batch):
        self.model(torch.ones(1, 1)).sum().backward()
        self.optimizer.step()
        loss = self.losses[engine.state.iteration - 1]
        if loss is None:
            raise OSError("disk")
        return loss

    def count_epoch(self, engine):
        self.epochs += 1

    def search(self):
        """The suggested rate's place among those that were tried."""
        finder = LearningRateFinder(self.model, self.optimizer, steps=len(self.losses), smoothing=0.0)
        curve = finder.find(self.trainer, [0] * len(self.losses))
        return curve.rates.index(curve.steepest)


class Ignites(Ours):
    def search(self):
        finder, objects = ignite.handlers.FastaiLRFinder(), {"model": self.model, "optimizer": self.optimizer}
        with finder.attach(self.trainer, to_save=objects, num_iter=len(self.losses), smooth_f=0.0) as trainer:
            trainer.run([0] * len(self.losses))
        return finder.get_results()["lr"].index(finder.lr_suggestion())


@pytest.mark.in_place_of("V22", Ours, Ignites, there="assert 1.4 == 4.0")
@pytest.mark.filterwarnings("ignore:Run completed without loss diverging")
def test_losses_that_are_nan_do_not_move_the_suggestion(make):
    losses = [9.0, 8.9, 8.8, 8.5, 7.0, 4.0, 2.0, 1.5, 1.4, NAN, NAN, NAN]
    assert losses[make(losses).search()] == 4.0  # where they fall fastest; the last before NaN is 1.4


@pytest.mark.in_place_of("V22", Ours, Ignites, there="assert -.* == 0.0")
def test_an_error_in_the_search_leaves_the_weights_as_they_were(make):
    world = make([9.0, 8.0, 7.0, None, 5.0, 4.0])
    with contextlib.suppress(OSError):
        world.search()
    assert world.model.weight.item() == 0.0


@pytest.mark.in_place_of("V22", Ours, Ignites, there="assert 0.316.* == 0.01")
def test_an_error_in_the_search_leaves_the_rate_as_it_was(make):
    world = make([9.0, 8.0, 7.0, None, 5.0, 4.0])
    with contextlib.suppress(OSError):
        world.search()
    assert world.optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.in_place_of("V22", Ours, Ignites, there="assert 1 == 0")
@pytest.mark.filterwarnings("ignore:Run completed without loss diverging")
def test_no_other_handler_acts_in_the_search(make):
    world = make([9.0, 8.9, 8.8, 8.5, 7.0, 4.0, 2.0, 1.5])
    world.search()
    assert world.epochs == 0

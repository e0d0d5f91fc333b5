import ignite.handlers
import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import nn

from ignition.handlers import EMA


class Ours:
    """A model, a trainer of ignite's that gives its weight 1, 2, 3... with each step, and an average."""

    def __init__(self, model=None, *, accumulate=1, **settings):
        self.model = model or nn.Linear(1, 1, bias=False)
        nn.init.zeros_(next(self.model.parameters()))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.trainer = create_supervised_trainer(
            self.model, self.optimizer, lambda output, target: -output.sum(), gradient_accumulation_steps=accumulate
        )
        self.attach(**settings)

    def attach(self, warmup=False):
        self.handler = EMA(self.model, decay=0.5, warmup=warmup)
        self.handler.attach(self.trainer, self.optimizer)

    average = property(lambda self: self.handler.module)
    averaged = property(lambda self: next(self.average.parameters()).item())

    def train(self, iterations):
        one = torch.ones(1, 1)
        self.trainer.run([(one, one)] * iterations)
        return self


class Ignites(Ours):
    def attach(self, warmup=False):
        settings = {"momentum_warmup": 0.9, "warmup_iters": 10} if warmup else {}
        self.handler = ignite.handlers.EMAHandler(self.model, momentum=0.5, **settings)
        self.handler.attach(self.trainer, "average_of_this_model")

    average = property(lambda self: self.handler.ema_model)


class Statistics(nn.Module):
    """Stands for a batch norm: a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        return x


@pytest.mark.in_place_of("V21", Ours, Ignites, there="assert 5.0 == 0.0")
def test_the_averages_statistics_are_its_own(make):
    run = make(nn.Sequential(nn.Identity(), nn.Linear(1, 1, bias=False), Statistics())).train(2)
    run.model[2].mean.fill_(5.0)  # as the next forward pass does
    assert run.average[2].mean.item() == 0.0


@pytest.mark.in_place_of("V21", Ours, Ignites, there="assert 1.46875 == 1.25")
def test_batches_that_are_accumulated_count_once(make):
    accumulated, plain = make(accumulate=4).train(8), make().train(2)
    assert accumulated.model.weight.item() == plain.model.weight.item() == 2.0
    assert accumulated.averaged == plain.averaged


@pytest.mark.in_place_of("V21", Ours, Ignites, there="assert 2.125 > 2.125")
@pytest.mark.filterwarnings("ignore:Attribute 'ema_momentum' is not defined")
def test_with_warm_up_the_average_is_nearer_at_first(make):
    warmed_up, plain = make(warmup=True).train(3), make().train(3)
    assert warmed_up.averaged > plain.averaged


@pytest.mark.in_place_of("V21", Ours, Ignites, there="no attribute 'load_state_dict'", raises=AttributeError)
def test_an_average_goes_on_where_it_was(make):
    whole, first, second = make().train(3), make().train(2), make()
    second.model.load_state_dict(first.model.state_dict())
    second.handler.load_state_dict(first.handler.state_dict())
    assert second.train(1).averaged == whole.averaged

"""Everything is as it was, bit for bit, whatever happens in between."""

import copy
import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader

from ignition.engine import build_trainer
from ignition.events import StepEvents, stop, watch
from ignition.handlers import Consensus, GradientClipping
from ignition.restoring import (
    data_restored,
    engine_restored,
    generators_restored,
    model_restored,
    optimizer_restored,
    state_restored,
)


class Boom(Exception):
    pass


@pytest.fixture(params=[None, Boom, KeyboardInterrupt], ids=["well", "error", "Ctrl-C"])
def within(request):
    """Do something within a context that ends well, or not."""

    def within(context, act):
        if request.param is None:
            with context:
                act()
        else:
            with pytest.raises(request.param), context:
                act()
                raise request.param

    return within


class Odd(nn.Module):
    """All that a module can hold."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.BatchNorm1d(3).eval()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight  # tied
        self.register_buffer("replaced", torch.tensor(1.0))
        self.register_buffer("unsaved", torch.tensor([0.0, -0.0, float("nan")]), persistent=False)
        self.register_buffer("wide", torch.ones(1).expand(4))
        self.register_buffer("absent", None)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.replaced = self.replaced + 1
        self.unsaved += 1
        return self.other(self.one(self.frozen(self.norm(x)))).sum() * self.wide.sum()

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def bits(tensor):
    return tensor.detach().clone().view(-1).view(torch.uint8).tolist() if tensor.numel() > 1 else tensor.item()


def test_a_model_with_everything_in_it(within):
    torch.manual_seed(0)
    model = Odd()
    model(torch.randn(5, 3)).backward()
    model.one.bias.grad, held = None, model.one.weight.grad
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: bits(tensor) for name, tensor in tensors.items() if name != "wide"}
    gradient, modes, calls = bits(held), [module.training for module in model.modules()], model.calls

    def train():
        assert all(parameter.grad is None for parameter in model.parameters())
        model.train()
        for _ in range(3):
            model(torch.randn(5, 3)).backward()
            torch.optim.SGD(model.parameters(), lr=9.0).step()
            held.add_(1)  # as DDP does, whose gradients are views of its buckets
        assert model.calls == calls + 3

    within(model_restored(model), train)
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(after[name] is tensor for name, tensor in tensors.items())  # who holds one need not know
    assert {name: bits(tensor) for name, tensor in after.items() if name != "wide"} == before
    assert model.one.weight.grad is held
    assert bits(held) == gradient
    assert model.one.bias.grad is None
    assert [module.training for module in model.modules()] == modes
    assert model.calls == calls


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": torch.tensor(0.1), "capturable": False, "foreach": False}])
def test_an_optimizer_and_its_rates(within, options):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam([{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.5}], **options)

    def step():
        model(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()

    step()
    groups, moment = optimizer.param_groups, optimizer.state[model.weight]["exp_avg"]
    before = copy.deepcopy(optimizer.state_dict())

    def spoil():
        for group in optimizer.param_groups:
            group["lr"] = group["lr"].fill_(7.0) if isinstance(group["lr"], torch.Tensor) else 7.0
            group["betas"] = (0.5, 0.5)
        step()
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})

    within(optimizer_restored(optimizer), spoil)
    assert optimizer.param_groups is groups
    assert optimizer.state[model.weight]["exp_avg"] is moment
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)


def test_all_generators(within):
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)

    def draw():
        return torch.rand(2).tolist(), np.random.rand(), random.random(), np.random.normal(), random.gauss(0, 1)

    draw()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    within(generators_restored(), draw)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_a_loss_scale_after_a_step_that_failed_half_way(within):
    scaler, model = torch.amp.GradScaler("cpu", init_scale=8.0), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        scaler.scale(model(torch.ones(1, 1)).sum()).backward()
        scaler.unscale_(optimizer)

    def fail():
        step()
        scaler.update(0.25)
        step()  # and no update

    within(state_restored(scaler), fail)
    assert scaler.get_scale() == 8.0
    step()  # would be a RuntimeError, had the scaler still been unscaled
    scaler.step(optimizer)
    scaler.update()
    assert scaler.state_dict()["_growth_tracker"] == 1


def square(model, batch, progress):
    return {"square": model(batch).square().mean()}


def ours():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return build_trainer(model, optimizer, square), optimizer


def test_an_engine_has_its_own_life_within(within):
    trainer, optimizer = ours()
    clipping, acted = GradientClipping(max_norm=1e-3), []
    clipping.attach(trainer, optimizer)
    consensus = Consensus.of(trainer)
    for event in (Events.STARTED, Events.ITERATION_COMPLETED(every=2), StepEvents.STEP_COMPLETED, Events.COMPLETED):
        trainer.add_event_handler(event, lambda engine: acted.append(engine.state.iteration))
    trainer.run([torch.ones(4, 2)] * 3, max_epochs=2)
    trainer.state.own = [1]
    kept, before, handlers = dict(vars(trainer.state)), list(acted), copy.copy(trainer._event_handlers)
    counted = clipping.clipped

    def run():
        assert (trainer.state.iteration, trainer.state.own) == (0, [1])
        trainer.state.own.append(2)
        assert trainer.run([torch.ones(4, 2)] * 5, max_epochs=3).steps == 15
        Consensus.of(trainer).ask("stop", "not the run's business")
        stop(trainer, "nor is this")

    within(engine_restored(trainer, keep=[clipping]), run)
    assert acted == before
    assert vars(trainer.state) == {**kept, "own": [1]}
    assert trainer._event_handlers == handlers
    assert clipping.clipped == counted == 6
    assert Consensus.of(trainer) is consensus
    assert trainer.run([torch.ones(4, 2)] * 3, max_epochs=3).iteration == 9


def test_v14_an_error_within_is_not_swallowed_by_handlers_that_do_not_act():
    def fail(engine, batch):
        raise Boom

    engine, told = Engine(fail), []
    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: told.append(error))
    with pytest.raises(Boom), engine_restored(engine):
        engine.run([1])
    assert told == []


def test_an_engine_can_be_tried_from_its_own_handler():
    seen = []

    def try_it(engine):
        with engine_restored(engine):
            seen.append(engine.run("abc").iteration)

    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.ITERATION_COMPLETED, try_it)
    assert engine.run("de", max_epochs=2).iteration == 4
    assert (seen, engine.state.output) == ([3] * 4, "e")


def test_handlers_to_keep_act_and_others_do_not_whatever_fires_the_event():
    model, acted = nn.Linear(1, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = Engine(lambda engine, batch: (model(batch).sum().backward(), optimizer.step()))
    watch(engine, optimizer)
    first, second = (lambda engine: acted.append("first")), (lambda engine: acted.append("second"))
    engine.add_event_handler(StepEvents.STEP_COMPLETED(every=2), first)
    engine.add_event_handler(StepEvents.STEP_COMPLETED, second)
    with engine_restored(engine, keep=[first]):
        engine.run([torch.ones(1, 1)] * 4)
    assert acted == ["first", "first"]
    assert engine.state.steps == 0
    with pytest.raises(ValueError, match=r"GradientClipping cannot be kept: it is not attached to this engine"), \
            engine_restored(engine, keep=[GradientClipping()]):  # fmt: skip
        pass


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_with_the_same_order_and_the_same_noise(within, workers):
    def loader():
        generator = torch.Generator().manual_seed(3)
        return DataLoader(Noisy(), batch_size=2, shuffle=True, generator=generator, num_workers=workers,
                          persistent_workers=workers > 0)  # fmt: skip

    untouched, tried = loader(), loader()
    list(untouched), list(tried)  # their workers, if there are any, have drawn numbers already
    torch.manual_seed(0)
    expected = [torch.cat(list(untouched)) for _ in range(2)]
    within(data_restored(tried), lambda: [list(tried), next(iter(tried))])
    torch.manual_seed(0)  # whose numbers the samples are made of where there are no workers
    got = [torch.cat(list(tried)) for _ in range(2)]
    assert torch.equal(torch.stack(got), torch.stack(expected))


class Noisy:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index + 0.9 * torch.rand(1)

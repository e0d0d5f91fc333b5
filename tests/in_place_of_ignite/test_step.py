import random

import pytest
import torch
from ignite.distributed.auto import DistributedProxySampler
from ignite.engine import Engine, EventEnum, Events, create_supervised_trainer
from ignite.handlers import TensorboardLogger
from torch import nn
from torch.utils.data import SequentialSampler

from ignition.data import BatchSampler
from ignition.engine import build_trainer
from ignition.events import StepEvents, watch

# ------------------------------------------------------------------------------------------------- accumulated batches


def ours(model, optimizer, accumulate):
    return build_trainer(model, optimizer, lambda model, batch, progress: {"a": loss(model(batch[0]), batch[1])},
                         accumulate=accumulate)  # fmt: skip


def ignites(model, optimizer, accumulate):
    return create_supervised_trainer(model, optimizer, loss, gradient_accumulation_steps=accumulate)


def loss(output, target):
    return -(output * target).mean()


@pytest.mark.in_place_of("V24", ours, ignites, there="assert 2.0 == 3.0")
def test_the_last_group_of_an_epoch_is_stepped_though_it_is_smaller(make):
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    one = torch.ones(1, 1)
    make(model, torch.optim.SGD(model.parameters(), lr=1.0), accumulate=4).run([(one, one)] * 10)
    assert model.weight.item() == 3.0  # the gradient is 1 in every step: 4 + 4 + 2 batches


# ------------------------------------------------------------------------------------------------------ custom events


class BackpropEvents(EventEnum):
    """An event of one's own, as in ignite's documentation of ``register_events``."""

    OPTIM_STEP_COMPLETED = "optim_step_completed"


def step_events():
    """An engine that fires an event at each step, and the event."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    trainer = Engine(lambda engine, batch: optimizer.step() or 0.5)
    watch(trainer, optimizer)
    return trainer, StepEvents.STEP_COMPLETED


def own_events():
    trainer = Engine(lambda engine, batch: engine.fire_event(BackpropEvents.OPTIM_STEP_COMPLETED) or 0.5)
    trainer.register_events(*BackpropEvents)
    return trainer, BackpropEvents.OPTIM_STEP_COMPLETED


@pytest.mark.in_place_of("V25", step_events, own_events, there="Unknown event name", raises=RuntimeError)
def test_every_second_step(make):
    trainer, event = make()
    seen = []
    trainer.add_event_handler(event(every=2), lambda engine: seen.append(engine.state.iteration))
    trainer.run([0] * 5)
    assert seen == [2, 4]


@pytest.mark.in_place_of("V25", step_events, own_events, there="Unknown event name", raises=RuntimeError)
def test_a_logger_of_ignites_at_each_step(make, tmp_path):
    trainer, event = make()
    with TensorboardLogger(log_dir=tmp_path) as logger:
        logger.attach_output_handler(trainer, event, tag="train", output_transform=lambda output: {"loss": 0.5})
        trainer.run([0] * 3)
    assert trainer.state.steps == 3


# -------------------------------------------------------------------------------------------------------------- order


def test_v28_handlers_of_an_event_run_in_the_order_of_attaching():
    """V28: ignite has no priorities; what it does have is this, on which the written order in our training rests."""
    seen, engine = [], Engine(lambda engine, batch: None)
    names = random.Random(0).sample(range(100), 100)
    for name in names:
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine, name=name: seen.append(name))
    engine.run([0])
    assert seen == names


# ------------------------------------------------------------------------------------------------------------ samplers


def sampler():
    return BatchSampler(10, 2, rank=0, world_size=2)


def proxy_sampler():
    return DistributedProxySampler(SequentialSampler(range(10)), num_replicas=2, rank=0)


@pytest.mark.in_place_of("V23", sampler, proxy_sampler, there="assert False")
def test_going_through_the_samples_leaves_the_random_numbers_alone(make):
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    list(make())
    assert torch.equal(torch.get_rng_state(), expected)

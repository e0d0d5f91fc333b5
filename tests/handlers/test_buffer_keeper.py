import math

import torch
from torch import nn

from ignition.engine import build_trainer
from ignition.handlers import BufferKeeper, NonFiniteSteps


class Counting(nn.Module):
    """A batch norm, a buffer that is changed in place, one that is exchanged, and a large one that never changes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(2))
        self.register_buffer("constant", torch.ones(1000))

    def forward(self, x):
        self.seen += len(x)
        self.latest = x.mean(0)
        return self.norm(x)


def buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def trained(batches, *, accumulate=1, guarded=True):
    torch.manual_seed(0)
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(
        model, optimizer, lambda model, x, progress: {"square": model(x).square().mean()}, accumulate=accumulate
    )
    if guarded:
        BufferKeeper(model).attach(trainer, optimizer)
        NonFiniteSteps().attach(trainer, optimizer)
    trainer.run(batches)
    return model


def batches(count):
    return list(torch.randn(count, 4, 2, generator=torch.Generator().manual_seed(1)).unbind())


def test_a_batch_with_a_nan_leaves_no_trace_in_running_statistics():
    good = batches(6)
    bad = good[0].clone()
    bad[1, 1] = math.nan
    model, without = trained([*good[:3], bad, *good[3:]]), trained(good)
    for (name, there), other in zip(model.state_dict().items(), without.state_dict().values(), strict=True):
        if name != "latest":  # exchanged, not changed: there is nothing to put back into
            assert torch.equal(there, other), name
    assert int(model.norm.num_batches_tracked) == 6 and float(model.seen) == 24


def test_a_group_of_batches_is_taken_back_as_a_whole():
    good = batches(4)
    bad = torch.full((4, 2), math.inf)
    model, without = trained([*good[:2], good[0], bad, *good[2:]], accumulate=2), trained(good, accumulate=2)
    assert torch.equal(model.norm.running_mean, without.norm.running_mean)
    assert torch.equal(model.seen, without.seen)


def test_where_nothing_is_left_out_nothing_is_changed():
    with_it, without = trained(batches(5)), trained(batches(5), guarded=False)
    for name, buffer in buffers(with_it).items():
        assert torch.equal(buffer, without.state_dict()[name]), name


def test_buffers_that_never_change_are_copied_once():
    model = Counting()
    keeper = BufferKeeper(model)
    keeper.keep()
    copy = keeper._kept["constant"].copy
    copy.fill_(7.0)  # would be overwritten by another copy
    model(torch.ones(4, 2))
    keeper.keep()
    assert float(copy[0]) == 7.0


def test_what_was_loaded_meanwhile_is_what_comes_back():
    model = Counting()
    keeper = BufferKeeper(model)
    keeper.keep()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(state)  # a rollback, between two iterations
    keeper.keep()
    model(torch.full((4, 2), math.nan))
    keeper.give_back()
    assert torch.equal(model.norm.running_mean, torch.ones(2)) and float(model.seen) == 1.0

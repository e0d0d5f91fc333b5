"""Weights shared out over processes: what is measured, changed and saved is what it is with whole ones."""

import torch
from torch import nn

from ignition.distributed.sharding import (
    WholeWeights,
    gathered,
    is_shared_out,
    like,
    own_part,
    own_share,
    sharded_parts,
)

# Every story is told twice, of whole weights under DDP and of shared ones, and must be the same.
PROGRAM = """
import copy, math, sys
import torch
from torch import nn
from types import SimpleNamespace

from ignition import assembly, checkpoint_file, distributed
from ignition.handlers import EMA, GradientClipping, LayerStatistics, MaxNorm, MaxValue, Recovery
from ignition.handlers.gradients import Gradients
from ignition.precision import Precision
from ignition.distributed.sharding import WholeWeights, gathered, own_part, sharded_parts


class Net(nn.Module):
    "A block, a list of blocks with running statistics, and a head tied to the first weights."
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(350, 350)
        block = lambda: nn.Sequential(nn.Linear(350, 350, bias=False), nn.BatchNorm1d(350))
        self.blocks = nn.ModuleList([block(), block()])
        self.head = nn.Linear(350, 1)
        self.tied = nn.Linear(350, 350, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.head(self.tied(x))


def config(parallel):
    return SimpleNamespace(trainer=SimpleNamespace(parallel=parallel), ema=object())


def story(parallel, amp="off"):
    torch.manual_seed(1)
    model = Net()
    average = copy.deepcopy(model)
    precision = Precision("cpu", amp=amp)
    network = assembly.over_processes(model, config(parallel), precision)
    if parallel == "fsdp2":
        assembly.over_processes(average, config(parallel), precision)
        assert len(sharded_parts(model)) == 3, sharded_parts(model)  # two blocks, and all the rest
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3)
    ema = EMA(model, decay=0.5, warmup=False, module=average)
    recovery = Recovery({"model": model, "optimizer": optimizer, "ema": ema})
    rows = []
    statistics = LayerStatistics(model, rows.append, every=1)
    clipping, value = GradientClipping(MaxNorm(0.5)), GradientClipping(MaxValue(1e-3))
    told = []
    for i in range(1, 5):
        x = torch.randn(4, 350, generator=torch.Generator().manual_seed(10 * i + distributed.rank()))
        if parallel == "fsdp2":
            distributed.share_buffers(model)
        with precision.autocast():
            loss = network(x).square().mean()
        loss.backward()
        statistics.before_step(i)
        norm = clipping.clip(model.parameters()) if i != 3 else value.clip(model.parameters())
        told += [float(norm), clipping.measures(), value.measures()]
        optimizer.step()
        optimizer.zero_grad()
        statistics.after_step()
        ema.update()
        if i == 2:
            assert recovery.snapshot(2)
            at_two = gathered(checkpoint_file.state_of(model))
        if i == 3:
            recovery.restore("because", 3)
            again = gathered(checkpoint_file.state_of(model))
            if distributed.rank() == 0:
                assert all(torch.equal(at_two[name], again[name]) for name in at_two)
    model.eval()
    whole = WholeWeights(model)
    whole.gather()
    with torch.no_grad(), precision.autocast():  # as many forward passes as each likes
        outputs = [model(torch.ones(2, 350)) for _ in range(1 + 2 * distributed.rank())]
    whole.let_go()
    model.train()
    objects = {"model": model, "optimizer": optimizer, "ema": ema}
    payload = checkpoint_file.states_of(objects, iteration=4)
    return model, optimizer, ema, payload, told, rows, outputs[0]


def close(one, two, tolerance=1e-5):
    if isinstance(one, torch.Tensor):
        assert type(one) is type(two) or one.shape == two.shape
        torch.testing.assert_close(two.float(), one.float(), rtol=1e-3, atol=tolerance)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            close(one[key], two[key], tolerance)
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, two, strict=True):
            close(a, b, tolerance)
    elif isinstance(one, float):
        assert math.isclose(one, two, rel_tol=1e-3, abs_tol=tolerance), (one, two)
    else:
        assert one == two, (one, two)


with distributed.process_group("cpu", timeout_seconds=60):
    ddp, shared = story("ddp"), story("fsdp2")
    first = distributed.rank() == 0
    for name, a, b in zip(("payload", "told", "rows", "outputs"), ddp[3:], shared[3:]):
        if first or name != "payload":
            close(a, b)

    if first:
        checkpoint_file.check_plain(shared[3])
    payload = distributed.from_first(ddp[3])  # weights of whole ones into shared ones, and back
    model, optimizer, ema = shared[:3]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    objects = {"model": model, "optimizer": optimizer, "ema": ema}
    checkpoint_file.give_states("a.pt", payload, objects, ())
    back = checkpoint_file.states_of(objects, iteration=4)
    if first:
        close(payload, back, 0.0)

    story("fsdp2", amp="bf16")

    model = nn.Sequential(nn.Linear(2, 2))
    model.scale = nn.Parameter(torch.ones(()))
    try:
        assembly.over_processes(model, config("fsdp2"), Precision())
    except assembly.AssemblyError as error:
        assert "trainer.parallel: fsdp2 cannot share this model out" in str(error), error
    else:
        raise AssertionError("a scalar parameter cannot be shared out")
print(f"process {'0' if first else '1'} fine")
"""


def test_shared_weights_are_trained_measured_and_saved_as_whole_ones_are(two_processes):
    first, second = two_processes(PROGRAM, timeout_seconds=200)
    assert (first.splitlines()[-1], second.splitlines()[-1]) == ("process 0 fine", "process 1 fine")


def test_what_is_not_shared_out_stays_the_very_same():
    weight = torch.ones(2)
    assert own_share(weight) is weight and like(weight, weight) is weight and not is_shared_out(weight)
    state = {"a": [weight, 1], "b": (weight,)}
    assert gathered(state) is state
    assert own_part(state)["a"][0] is weight and own_part(state)["b"][0] is weight
    model = nn.Linear(1, 1)
    assert sharded_parts(model) == []
    whole = WholeWeights(model)
    whole.gather()
    whole.let_go()

"""Batches that do not fit into memory: the step comes out as if they had."""

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import MeanSquaredError
from torch import nn

from ignition.engine import build_evaluator, build_trainer
from ignition.engine.micro_batches import MicroBatches, OutOfMemory
from ignition.events import StepEvents
from ignition.handlers import BufferKeeper
from ignition.precision import Precision
from ignition.randomness import IterationSeed
from tests.processes import completed


class Room(nn.Module):
    """Passes on what it gets; has room for so many samples, in the forward or the backward pass."""

    def __init__(self, samples=10**9, *, backward=False, model=None):
        super().__init__()
        self.samples, self.backward, self.model = samples, backward, model or nn.Linear(3, 1)
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        if self.backward:
            return Needs.apply(self.model(x), self.samples)
        if len(x) > self.samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.model(x)


class Needs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, samples):
        ctx.samples = samples
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) > ctx.samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return gradient, None


def square(model, batch, progress):
    return {"square": (model(batch["x"]) - batch["y"]).square().mean()}


def batches(sizes):
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(n, 3, generator=generator), "y": torch.randn(n, 1, generator=generator)} for n in sizes]


def trained(data, room, *, epochs=2, **keywords):
    optimizer = torch.optim.AdamW(room.parameters(), lr=0.1)
    trainer = build_trainer(room, optimizer, square, **keywords)
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output.loss)))
    trainer.run(data, max_epochs=epochs)
    return losses, torch.cat([parameter.detach().flatten() for parameter in room.parameters()])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


def twins(samples, **keywords):
    """A model with little room, and one with the same weights and room enough."""
    little, enough = Room(samples, **keywords), Room()
    enough.model.load_state_dict(little.model.state_dict())
    return little, enough


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_steps_are_those_of_whole_batches(backward, accumulate):
    data = batches([8, 8, 8, 8, 5])  # the last group of an epoch is short, too
    little, enough = twins(3, backward=backward)
    keywords = {"accumulate": accumulate, "batch_size": 8, "epochs": 2}
    (losses, weights), (whole_losses, whole) = trained(data, little, **keywords), trained(data, enough, **keywords)
    assert losses == pytest.approx(whole_losses, rel=1e-5)
    assert torch.allclose(weights, whole, atol=1e-6)
    assert little.seen[:6] == [8, 4, 2, 2, 2, 2]  # halved until it fits
    assert little.seen[6:].count(8) == 0  # and never tried again


def test_found_out_in_the_middle_of_a_group_its_first_batches_are_done_again():
    data = batches([2, 2, 8, 2])
    little, enough = twins(4, backward=True)
    keywords = {"accumulate": 4, "batch_size": 8, "epochs": 1}
    (losses, weights), (whole_losses, whole) = trained(data, little, **keywords), trained(data, enough, **keywords)
    assert little.seen == [2, 2, 8, 2, 2, 4, 4, 2]
    assert losses == pytest.approx(whole_losses, rel=1e-5)
    assert torch.allclose(weights, whole, atol=1e-6)


def test_under_fp16_scaling_gradients_are_the_same(caplog):
    data = [{key: value / 8 for key, value in batch.items()} for batch in batches([8, 8])]
    little, enough = twins(4)
    both = [trained(data, room, epochs=1, precision=Precision("cpu", amp="fp16"))[1] for room in (little, enough)]
    assert torch.allclose(*both, rtol=0.01, atol=2e-3)  # 16-bit products
    assert caplog.messages == [
        "iteration 1: a batch did not fit into memory (CUDA out of memory. Tried to allocate 2.00 GiB); from here on 4 "
        "samples at a time go through the model, with the same gradients. To begin so: trainer.micro_batch=4"
    ]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_finds_out_and_one_that_knew_are_the_same_bit_for_bit(accumulate):
    """With what draws numbers and what keeps statistics: augmentation, dropout, batch norm."""
    data, ends = batches([6] * 6), []

    def noisy(batch):
        return {**batch, "x": batch["x"] + torch.randn_like(batch["x"])}

    for samples in (3, 10**9):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        room = Room(samples, backward=True, model=network)
        optimizer = torch.optim.AdamW(room.parameters(), lr=0.1)
        micro = MicroBatches()
        trainer = build_trainer(room, optimizer, square, augmentation=noisy, accumulate=accumulate, micro_batches=micro)
        IterationSeed(7).attach(trainer)
        BufferKeeper(room).attach(trainer, optimizer)
        if samples == 3:  # memory is taken by somebody else from iteration 4 on
            room.samples = 10**9
            trainer.add_event_handler(
                Events.ITERATION_STARTED(once=4), lambda engine, room=room: setattr(room, "samples", 3)
            )
        else:
            known_from = 4 if accumulate == 1 else 3  # the whole group is begun again
            trainer.add_event_handler(
                Events.ITERATION_STARTED(once=known_from), lambda engine, micro=micro: setattr(micro, "size", 3)
            )
        trainer.run(data)
        ends.append({name: value.clone() for name, value in room.state_dict().items()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert int(ends[0]["model.1.num_batches_tracked"]) == (3 + 6 if accumulate == 1 else 2 + 8)


def test_what_looks_before_the_backward_pass_is_called_once_a_step():
    looked, restarted = [], []
    room = Room(2)
    trainer = build_trainer(
        room, torch.optim.SGD(room.parameters(), lr=0.1), square, accumulate=2,
        before_backward=lambda engine, terms, weights: looked.append(engine.state.iteration),
    )  # fmt: skip
    trainer.add_event_handler(StepEvents.STEP_RESTARTED, lambda engine: restarted.append(engine.state.iteration))
    trainer.run(batches([4] * 4))
    assert (looked, restarted) == ([1, 3], [1])


def test_another_error_and_another_policy_go_on_their_way():
    little = Room(2)
    with pytest.raises(torch.OutOfMemoryError):
        trained(batches([4]), little, micro_batches=MicroBatches(policy="raise"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trained([{"x": torch.zeros(4, 2), "y": torch.zeros(4, 1)}], Room())
    assert little.seen == [4]


def test_one_sample_that_does_not_fit_ends_it_in_words():
    with pytest.raises(OutOfMemory, match="has been tried one sample at a time. Make samples or model smaller"):
        trained(batches([4]), Room(0))


def test_a_size_that_is_set_is_kept_to_from_the_first_batch():
    room = Room(3)
    trained(batches([8]), room, epochs=1, micro_batches=MicroBatches(3))
    assert room.seen == [2, 3, 3]


@pytest.mark.parametrize("backward", [False])
def test_an_evaluation_comes_to_the_same_metrics(backward, caplog):
    data, (little, enough), found = batches([8, 5]), twins(3), []
    for room in (little, enough):
        metrics = {"mse": MeanSquaredError(output_transform=lambda output: (output[0], output[1]["y"]))}
        evaluator = build_evaluator(
            room, lambda model, batch: model(batch["x"]), metrics=metrics,
            losses=lambda model, outputs, batch, progress: {"square": (outputs - batch["y"]).square().mean()},
        )  # fmt: skip
        found.append(dict(evaluator.run(data).metrics))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert little.seen == [8, 4, 2, 2, 2, 2, 1, 2, 2]
    assert caplog.messages[0].endswith("To begin so: data.eval_batch_size=2")


def test_outputs_that_cannot_be_put_together_end_an_evaluation_in_words():
    room = Room(2)
    evaluator = build_evaluator(room, lambda model, batch: model(batch["x"]).mean())
    with pytest.raises(
        OutOfMemory, match="cannot be put together: the output has shape .* or set data.eval_batch_size"
    ):
        evaluator.run(batches([4]))


TWO = """
import sys
from functools import partial
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from ignition import distributed
from ignition.engine import build_trainer
from ignition.engine.micro_batches import MicroBatches, OutOfMemory
from tests.engine.test_out_of_memory import Counting, Room, batches, flat, square

whole = batches([8, 8, 8, 8, 8, 6])
with distributed.process_group("cpu", timeout_seconds=60):
    rank = distributed.rank()
    tell = partial(print, file=open(f"{sys.argv[1]}/{rank}", "w"), flush=True)
    for where in ("forward", "backward", "both", "nowhere", "hopeless"):
        for accumulate in (1, 2) if where != "hopeless" else (1,):
            torch.manual_seed(1)
            room, alone = Room(model=Counting()), Room(model=Counting())
            alone.load_state_dict(room.state_dict())
            if where == "both" or (where != "nowhere" and rank == 1):
                room.samples, room.backward = (0 if where == "hopeless" else 3), where == "backward"
            mine = [{key: value[rank::2] for key, value in batch.items()} for batch in whole]
            optimizer, micro = torch.optim.SGD(room.parameters(), lr=0.1), MicroBatches()
            trainer = build_trainer(DistributedDataParallel(room), optimizer, square, accumulate=accumulate,
                                    batch_size=4, micro_batches=micro)
            try:
                trainer.run(mine, max_epochs=2)
            except OutOfMemory as error:
                tell(where, accumulate, "on another process" in str(error))
                continue
            assert len({tuple(weights) for weights in distributed.gather(flat(room).tolist())}) == 1
            other = build_trainer(alone, torch.optim.SGD(alone.parameters(), lr=0.1), square, accumulate=accumulate)
            other.run(whole, max_epochs=2)
            near = float((flat(alone) - flat(room)).abs().max()) < 1e-5
            tell(where, accumulate, micro.size, micro.failures, near)
"""


class Counting(nn.Linear):
    """Has a buffer, which the first process gives to the others before each of their shared forward passes."""

    def __init__(self):
        super().__init__(3, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_two_processes_begin_again_together_whichever_has_failed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(TWO)
    done = completed(program, tmp_path, processes=2)
    assert done.returncode == 0, done.stderr
    expected = [
        f"{where} {accumulate} {'None 0' if where == 'nowhere' else '2 1'} True"
        for where in ("forward", "backward", "both", "nowhere")
        for accumulate in (1, 2)
    ]
    # not even one sample fits on process 1: both end with that, and process 0 says where it was
    answers = [(tmp_path / str(rank)).read_text().splitlines() for rank in (0, 1)]
    assert answers == [[*expected, "hopeless 1 True"], [*expected, "hopeless 1 False"]]

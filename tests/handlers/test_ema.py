import io
import json
import math

import ignite.handlers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from ignite.metrics import Loss
from torch import nn

from ignition.engine import build_evaluator, build_trainer
from ignition.handlers import EMA, NonFiniteSteps


def one_weight(value=0.0):
    model = nn.Linear(1, 1, bias=False)
    give(model, value)
    return model


def give(model, value):
    nn.init.constant_(model.weight, value)


def averages(ema, model, weights):
    """The averaged weight after each of ``weights``."""
    found = []
    for weight in weights:
        give(model, weight)
        ema.update()
        found.append(ema.module.weight.item())
    return found


def trained(steps, *, model=None, ema=None, optimizer=None, from_step=0, decay=0.9):
    """A model with batch norm trained on batches that depend on the step alone, and its average."""
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ema = ema or EMA(model, decay)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"square": model(batch).square().mean()})
    ema.attach(trainer, optimizer)
    batches = [torch.randn(8, 3, generator=torch.Generator().manual_seed(step)) for step in range(from_step, steps)]
    trainer.run(batches)
    return model, optimizer, ema


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_each_older_weight_counts_decay_times_as_much():
    model = one_weight(99.0)
    ema = EMA(model, decay=0.75, warmup=False)
    # the first is taken as it is, whatever the model was made with; then 0.75 * 8 + 0.25 * 4, and so on
    assert averages(ema, model, [8.0, 4.0, 0.0, 0.0]) == [8.0, 7.0, 5.25, 3.9375]
    assert ema.updates == 4


def test_warm_up_forgets_the_first_weights_soon():
    model = one_weight()
    ema = EMA(model, decay=0.25, warmup=True)
    # kept after 1, 2 and 3 updates: 2/11, 3/12, and 4/13, which is more than 0.25
    assert averages(ema, model, [11.0, 0.0, 8.0, 8.0]) == pytest.approx([11.0, 2.0, 6.5, 7.625], rel=1e-6)
    assert [ema.decay_at(n) for n in (1, 2, 3)] == [2 / 11, 0.25, 0.25]


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20), st.floats(0.01, 0.999), st.booleans()
)  # fmt: skip
def test_it_is_the_weighted_mean_of_what_it_saw(weights, decay, warmup):
    model = one_weight()
    ema = EMA(model, decay, warmup=warmup)
    expected = weights[0]
    for n, weight in enumerate(weights[1:], start=1):
        keep = min(decay, (1 + n) / (10 + n)) if warmup else decay
        expected = keep * expected + (1 - keep) * weight
    found = averages(ema, model, weights)[-1]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert min(weights) - 1e-3 <= found <= max(weights) + 1e-3


def test_v21_buffers_are_copied_and_never_shared():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    theirs = ignite.handlers.EMAHandler(model, momentum=0.1, handle_buffers="copy")
    ours = EMA(model)
    trainer = Engine(lambda engine, batch: model(batch))
    theirs.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, ours)
    trainer.run([torch.randn(4, 2)] * 3)

    assert theirs.ema_model[1].running_mean.data_ptr() == model[1].running_mean.data_ptr()
    norm = ours.module[1]
    assert norm.running_mean.data_ptr() != model[1].running_mean.data_ptr()
    assert torch.equal(norm.running_mean, model[1].running_mean) and not torch.equal(norm.running_mean, torch.zeros(2))
    assert norm.num_batches_tracked.item() == 3 and norm.num_batches_tracked.dtype == torch.int64
    model(torch.randn(4, 2))  # what the model does next changes its own statistics alone
    assert norm.num_batches_tracked.item() == 3


def test_a_buffer_that_the_model_replaces_is_found_again():
    model = one_weight()
    model.register_buffer("seen", torch.zeros(2))
    ema = EMA(model)
    model.seen = model.seen + 5
    ema.update()
    assert ema.module.seen.tolist() == [5, 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_changes_of_weights_in_16_bits_are_not_lost(dtype):
    model = one_weight(1.0).to(dtype)
    ema = EMA(model, decay=0.999, warmup=False)
    ema.update()
    give(model, 1.5)
    naive = torch.ones(1, dtype=dtype)
    for _ in range(700):
        ema.update()
        naive.lerp_(model.weight.detach().flatten(), 0.001)
    expected = 1.5 - 0.5 * 0.999**700  # 1.2518
    assert naive.item() == 1.0 if dtype == torch.bfloat16 else abs(naive.item() - expected) > 0.02
    saved = ema.state_dict()["module"]["weight"]
    assert saved.dtype == torch.float32 and saved.item() == pytest.approx(expected, rel=1e-5)
    assert ema.module.weight.dtype == dtype  # it takes the same inputs as the model
    assert ema.module.weight.item() == torch.tensor(expected, dtype=dtype).item()

    other = EMA(one_weight().to(dtype), decay=0.999, warmup=False)
    other.load_state_dict(through_a_file(ema.state_dict()))
    for one in (ema, other):
        one._model.weight.data.fill_(1.5)
        one.update()
    assert torch.equal(ema.state_dict()["module"]["weight"], other.state_dict()["module"]["weight"])


def test_frozen_weights_stay_what_they_are_and_whole_numbers_are_copied():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64).bfloat16(), nn.Linear(4, 4).double())
    model.requires_grad_(False)
    model.steps = nn.Parameter(torch.tensor([7]), requires_grad=False)
    ema = EMA(model, decay=0.99)
    for _ in range(100):
        ema.update()
    model.steps += 1
    ema.update()
    for name, value in model.state_dict().items():
        assert torch.equal(ema.module.state_dict()[name], value), name


def test_tied_weights_are_averaged_once_and_stay_tied():
    model = nn.ModuleDict({"encode": nn.Linear(2, 2, bias=False), "decode": nn.Linear(2, 2, bias=False)})
    model["decode"].weight = model["encode"].weight
    nn.init.ones_(model["encode"].weight)
    ema = EMA(model, decay=0.75, warmup=False)
    ema.update()
    nn.init.zeros_(model["encode"].weight)
    ema.update()
    assert ema.module["decode"].weight is ema.module["encode"].weight
    assert ema.module["decode"].weight[0, 0].item() == 0.75  # and not 0.75 * 0.75


def test_the_average_is_a_model_of_its_own_without_gradients():
    model, _, ema = trained(3)
    assert not ema.module.training and model.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    before = ema.module[0].weight.clone()
    nn.init.zeros_(model[0].weight)
    assert torch.equal(ema.module[0].weight, before)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.DataParallel(model),
        lambda model: (model.compile(backend="eager"), model)[1],
        lambda model: nn.Sequential(torch.compile(model, backend="eager")),
    ],
    ids=["compiled", "parallel", "compiled in place", "compiled within"],
)
def test_a_wrapped_model_is_averaged_under_its_plain_names(wrap):
    model = one_weight(4.0)
    wrapped = wrap(model)
    wrapped(torch.ones(1, 1))
    ema = EMA(wrapped, decay=0.5, warmup=False)
    ema.update()
    give(model, 2.0)
    ema.update()
    assert [name.removeprefix("0.") for name in ema.state_dict()["module"]] == ["weight"]
    assert ema.module(torch.ones(1, 1)).item() == 3.0  # the copy runs its own weights, not those it was compiled with
    ema.copy_to(wrapped)
    assert model.weight.item() == 3.0


def test_only_steps_that_were_taken_are_averaged():
    """V21: not batches. Three batches to a step, and the second step is left out."""
    model = one_weight(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"it": model(batch).mean()}, accumulate=3)
    NonFiniteSteps().attach(trainer, optimizer)
    ema = EMA(model, decay=0.5, warmup=False)
    ema.attach(trainer, optimizer)
    batches = [torch.ones(1, 1)] * 9
    batches[4] = torch.full((1, 1), math.nan)
    trainer.run(batches)
    assert trainer.state.steps == 3 and ema.updates == 2
    assert model.weight.item() == 0.0
    assert ema.module.weight.item() == 0.25  # 0.5 after the first step, 0.0 after the third


def test_what_is_not_finite_stays_until_reset():
    model = one_weight(1.0)
    ema = EMA(model, decay=0.5)
    assert all(math.isnan(value) for value in averages(ema, model, [1.0, math.nan, 1.0])[1:])
    ema.reset()
    assert ema.module.weight.item() == 1.0 and ema.updates == 0
    assert averages(ema, model, [3.0, 3.0]) == [3.0, 3.0]


@pytest.mark.parametrize("cut", [1, 4])
def test_resumed_in_the_middle_it_is_the_average_of_the_whole_run(cut):
    _, _, whole = trained(7)
    model, optimizer, first = trained(cut)
    state = through_a_file(first.state_dict())
    assert state["updates"] == cut

    second = EMA(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), decay=0.9)
    second._model.load_state_dict(model.state_dict())
    fresh = torch.optim.SGD(second._model.parameters(), lr=0.1, momentum=0.9)
    fresh.load_state_dict(optimizer.state_dict())
    second.load_state_dict(state)
    trained(7, model=second._model, ema=second, optimizer=fresh, from_step=cut)
    assert second.updates == whole.updates == 7
    for name, value in whole.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], value), name


def test_the_state_of_another_model_is_refused_by_name():
    saved = EMA(nn.Linear(2, 3)).state_dict()
    other = EMA(nn.Linear(2, 2, bias=False))
    before = other.module.weight.clone()
    with pytest.raises(
        ValueError, match=r"of another model: it has besides bias; weight is \[3, 2\] there and \[2, 2\]"
    ):
        other.load_state_dict(saved)
    assert torch.equal(other.module.weight, before)
    with pytest.raises(ValueError, match=r"does not fit this Linear: it has besides bias; weight is"):
        EMA(nn.Linear(2, 3)).copy_to(nn.Linear(2, 2, bias=False))


def test_a_failure_half_way_leaves_what_it_knew():
    model = one_weight(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def fail_at_two(model, batch, progress):
        return {"it": model(batch).mean() if batch.item() != 2 else 1 / 0}

    trainer = build_trainer(model, optimizer, fail_at_two)
    ema = EMA(model, decay=0.5, warmup=False)
    ema.attach(trainer, optimizer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([torch.ones(1, 1), torch.full((1, 1), 2.0)])
    assert ema.updates == 1 and ema.module.weight.item() == 0.5


def test_applied_within_a_block_the_models_own_weights_come_back_whatever_happens():
    model, _, ema = trained(5)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]
    average = ema.module.state_dict()
    assert not torch.equal(own["0.weight"], average["0.weight"])
    with pytest.raises(OSError, match="disk"), ema.applied() as applied:
        assert applied is model
        assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())
        model.train()(torch.randn(4, 3))  # the running statistics move
        raise OSError("disk")
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == addresses
    ema.update()
    assert ema.updates == 6


def test_no_step_is_averaged_within_applied():
    model = one_weight(1.0)
    ema = EMA(model)
    with ema.applied():
        with pytest.raises(RuntimeError, match="no step can be averaged within `applied`"):
            ema.update()
        with pytest.raises(RuntimeError, match="applied already"), ema.applied():
            pass
    assert ema.updates == 0


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_settings_that_mean_nothing_are_refused(decay):
    with pytest.raises(ValueError, match=f"decay is {decay}; it must be above 0 and below 1"):
        EMA(one_weight(), decay)


def test_under_a_constant_high_rate_the_average_is_better_than_the_last_weights():
    """Noisy targets, single samples, a rate that never falls: the weights jump about the solution, the mean is near."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(8, 1, generator=generator)

    def draw(count):
        x = torch.randn(count, 8, generator=generator)
        return x, x @ truth

    inputs, clean = draw(1500)
    noisy = clean + 2.0 * torch.randn(1500, 1, generator=generator)
    model = nn.Linear(8, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    trainer = build_trainer(
        model, optimizer, lambda model, batch, progress: {"square": (model(batch[0]) - batch[1]).square().mean()}
    )
    ema = EMA(model, decay=0.99)
    ema.attach(trainer, optimizer)
    trainer.run([(inputs[i : i + 1], noisy[i : i + 1]) for i in range(1500)])

    validation = [draw(500)]
    losses = []
    for measured in (model, ema.module):  # the average is evaluated beside the weights that are trained
        evaluator = build_evaluator(
            measured, lambda model, batch: model(batch[0]),
            metrics={"loss": Loss(nn.functional.mse_loss, output_transform=lambda output: (output[0], output[1][1]))},
        )  # fmt: skip
        losses.append(evaluator.run(validation).metrics["loss"])
    assert losses == pytest.approx([2.0205, 0.2527], rel=0.01)  # eight times better
    assert model.training and not ema.module.training


PROGRAM = """
import json
import torch
from torch import nn
from ignition import distributed
from ignition.engine import build_trainer
from ignition.handlers import EMA

with distributed.process_group("cpu"):
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"square": model(batch).square().mean()})
    ema = EMA(model, decay=0.9)
    ema.attach(trainer, optimizer)
    generator = torch.Generator().manual_seed(distributed.rank())  # other data on each
    trainer.run([torch.randn(4, 2, generator=generator) for _ in range(5)])
    print(json.dumps([ema.updates, list(ema.state_dict()["module"]), ema.module.weight.tolist(),
                      ema.module.weight.equal(model.module.weight)]))
"""


def test_processes_have_the_same_average(two_processes):
    one, other = map(json.loads, two_processes(PROGRAM))
    assert one == other
    assert one[:2] == [5, ["weight", "bias"]] and one[3] is False

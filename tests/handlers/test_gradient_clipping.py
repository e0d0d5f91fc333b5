import math

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn

from ignition.engine import build_trainer
from ignition.events import StepEvents
from ignition.handlers import GradientClipping


def with_gradient(*gradient):
    parameter = nn.Parameter(torch.zeros(len(gradient)))
    parameter.grad = torch.tensor(gradient)
    return parameter


@pytest.mark.parametrize(
    ("settings", "gradient", "clipped_to", "count"),
    [
        ({"max_norm": 1.0}, (3.0, 4.0), (0.6, 0.8), 1),
        ({"max_norm": 5.0}, (3.0, 4.0), (3.0, 4.0), 0),  # at the limit is not over it
        ({"max_norm": 9.0}, (3.0, 4.0), (3.0, 4.0), 0),
        ({"max_value": 3.5}, (3.0, -4.0), (3.0, -3.5), 1),
        ({"max_value": 4.0}, (3.0, -4.0), (3.0, -4.0), 0),
        ({}, (3.0, 4.0), (3.0, 4.0), 0),
    ],
)
def test_clips_what_is_over_the_limit_and_gives_the_norm_before(settings, gradient, clipped_to, count):
    parameter, clipping = with_gradient(*gradient), GradientClipping(**settings)
    assert clipping.clip([parameter]).item() == 5.0
    torch.testing.assert_close(parameter.grad, torch.tensor(clipped_to))
    assert clipping.clipped == count


def test_equals_torch_over_many_parameters():
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.zeros(3, 2)) for _ in range(5)] for _ in range(2))
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn(3, 2)
        b.grad = a.grad.clone()
    assert torch.equal(GradientClipping(max_norm=0.5).clip(iter(ours)), nn.utils.clip_grad_norm_(theirs, 0.5))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("settings", [{"max_norm": 1.0}, {"max_value": 1.0}, {}])
@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_are_left_for_the_guard(settings, fault):
    theirs = with_gradient(3.0, fault)
    nn.utils.clip_grad_norm_([theirs], 1.0)
    assert theirs.grad[0].item() != 3.0  # torch: a mixture of zeros and NaN, or all NaN

    parameter, clipping = with_gradient(3.0, fault), GradientClipping(**settings)
    assert not clipping.clip([parameter]).isfinite()
    assert parameter.grad[0].item() == 3.0
    assert str(parameter.grad[1].item()) == str(fault)
    assert clipping.clipped == 0


@pytest.mark.parametrize("settings", [{"max_norm": 1.0}, {"max_value": 1.0}])
@pytest.mark.parametrize("gradient", [(3.0, math.nan), (3.0, math.inf), (0.3, 0.4), (3.0, 4.0)])
def test_a_device_that_is_not_waited_for_does_the_same(settings, gradient):
    here, there = with_gradient(*gradient), with_gradient(*gradient)
    known, unknown = GradientClipping(**settings), GradientClipping(**settings)
    known.clip([here])
    unknown._cut([there], torch.linalg.vector_norm(there.grad, 2 if "max_norm" in settings else math.inf), 1.0)
    assert torch.equal(here.grad.nan_to_num(nan=-1.0), there.grad.nan_to_num(nan=-1.0))
    assert known.clipped == unknown.clipped


def test_parameters_without_gradients_are_no_fault():
    assert GradientClipping(max_norm=1.0).clip([nn.Parameter(torch.ones(2))]).item() == 0.0
    assert GradientClipping(max_value=1.0).clip([]).item() == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_norm": 1.0, "max_value": 1.0}, "give one of them"), ({"max_norm": 0.0}, "max_norm is 0.0"),
     ({"max_value": math.nan}, "max_value is nan")],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GradientClipping(**settings)


def square(model, batch, progress=None):
    return {"square": model(batch).square().mean()}


def linear():
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 1.0]]))
    return model


def test_in_our_training_it_measures_before_clipping_under_accumulation():
    batches = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]  # gradients (6, 0) and (0, 2), mean (3, 1)
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = build_trainer(model, optimizer, square, accumulate=2)
    clipping = GradientClipping(max_norm=1.0)
    clipping.attach(trainer, optimizer)
    trainer.run(batches)
    assert trainer.state.gradient_norm.item() == pytest.approx(math.sqrt(10))
    assert trainer.state.gradient_norm.ndim == 0
    assert clipping.clipped == 1
    step = torch.tensor([[3.0, 1.0]]) - model.weight.detach()
    torch.testing.assert_close(step, torch.tensor([[3.0, 1.0]]) / math.sqrt(10))  # the mean's direction, of norm 1


def test_in_ignites_supervised_trainer_every_step_has_at_most_the_limit():
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    clipping = GradientClipping(max_norm=0.5)
    clipping.attach(trainer, optimizer)
    steps, before = [], model.weight.detach().clone()

    @trainer.on(Events.ITERATION_COMPLETED)
    def measure(engine):
        steps.append((model.weight.detach() - before).norm().item())
        before.copy_(model.weight.detach())

    trainer.run([(torch.tensor([[10.0, 5.0]]), torch.zeros(1, 1))] * 3)
    assert steps == pytest.approx([0.5] * 3, abs=1e-5)
    assert clipping.clipped == 3


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, foreach=True),
    "fused adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_under_a_loss_scaler_the_limit_means_the_true_gradient(optimizer):
    """The steps of a foreign fp16 loop, fused optimizers included, are those of the loop without scaling."""

    def train(scaler):
        model = linear()
        optim = OPTIMIZERS[optimizer](model.parameters())

        def step(engine, batch):
            optim.zero_grad()
            scaler.scale(model(batch).square().mean()).backward()
            scaler.step(optim)
            scaler.update()

        engine = Engine(step)
        GradientClipping(max_norm=0.5).attach(engine, optim)
        norms = []
        engine.add_event_handler(StepEvents.STEP_COMPLETED, lambda e: norms.append(e.state.gradient_norm.item()))
        engine.run([torch.tensor([[1.0, 2.0]])] * 4)
        return model.weight.detach(), norms

    scaled, scaled_norms = train(torch.amp.GradScaler("cpu", init_scale=1024.0))
    plain, norms = train(torch.amp.GradScaler("cpu", enabled=False))
    torch.testing.assert_close(scaled, plain)
    assert scaled_norms == pytest.approx(norms)
    assert norms[0] == pytest.approx(2 * 5 * math.sqrt(5))  # of 2 (w x) x, with w x = 5


def test_the_count_survives_a_resume():
    first, second = GradientClipping(max_norm=1.0), GradientClipping(max_norm=1.0)
    first.clip([with_gradient(3.0, 4.0)])
    second.load_state_dict(first.state_dict())
    second.clip([with_gradient(3.0, 4.0)])
    assert second.clipped == 2


def test_attached_twice_to_one_engine_both_act_in_order():
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    engine = Engine(lambda engine, batch: (model(batch).square().mean().backward(), optimizer.step()))
    GradientClipping(max_value=1.0).attach(engine, optimizer)
    GradientClipping().attach(engine, optimizer)  # measures what the first has left
    engine.run([torch.tensor([[1.0, 1.0]])])
    assert engine.state.gradient_norm.item() == pytest.approx(math.sqrt(2))

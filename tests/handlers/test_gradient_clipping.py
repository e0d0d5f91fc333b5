import io
import json
import math
import textwrap
from pathlib import Path

import ignite
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn

from ignition.engine import build_trainer
from ignition.events import StepEvents
from ignition.handlers import AGC, AutoClip, GradientClipping, MaxNorm, MaxValue, NonFiniteSteps, ZClip
from ignition.handlers.clipping_rules import Verdict
from ignition.precision import Precision


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


def test_parameters_without_gradients_are_no_fault():
    assert GradientClipping(max_norm=1.0).clip([nn.Parameter(torch.ones(2))]).item() == 0.0
    assert GradientClipping(max_value=1.0).clip([]).item() == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_norm": 1.0, "max_value": 1.0}, "max_norm is 1.0 and max_value is 1.0; give one of them"),
        ({"rule": AGC(), "max_norm": 1.0}, "rule is .* and max_norm is 1.0; give one of them"),
        ({"max_norm": 0.0}, "max_norm is 0.0"),
        ({"max_value": math.nan}, "max_value is nan"),
        ({"rule": 1.0}, r"rule is 1.0; it must be a rule, for instance MaxNorm\(1.0\)"),
        ({"rule": ZClip}, "rule is <class .*; it must be a rule"),
        ({"shadow": ["zclip"]}, "shadow is 'zclip'; it must be a rule"),
        ({"shadow": ZClip()}, r"shadow is .*; it must be several rules, for instance shadow=\[ZClip\(\)\]"),
        ({"shadow": [ZClip()] * 2}, "the same rule object was given twice"),
    ],
)
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
    assert trainer.state.gradient_norm_step == trainer.state.steps == 1
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


def test_attached_twice_to_one_engine_both_act_in_order():
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    engine = Engine(lambda engine, batch: (model(batch).square().mean().backward(), optimizer.step()))
    GradientClipping(max_value=1.0).attach(engine, optimizer)
    GradientClipping().attach(engine, optimizer)  # measures what the first has left
    engine.run([torch.tensor([[1.0, 1.0]])])
    assert engine.state.gradient_norm.item() == pytest.approx(math.sqrt(2))


# ------------------------------------------------------------------------------------------- rules, shadows, and words

RULES = {
    "max norm": lambda: MaxNorm(0.5),
    "max value": lambda: MaxValue(0.1),
    "agc": lambda: AGC(0.05),
    "auto clip": lambda: AutoClip(30, window=5),
    "zclip": lambda: ZClip(z=1.0, alpha=0.9, warmup=3),
}


def batches_of(count, spike=None):
    generator = torch.Generator().manual_seed(1)
    batches = list(torch.randn(count, 4, 3, generator=generator))
    if spike is not None:
        batches[spike] = batches[spike] * 1000
    return batches


def world(clipping=None, optimizer=torch.optim.Adam, **options):
    """A small training whose gradients need clipping; the engine, the model, the optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    optim = optimizer(model.parameters(), lr=0.05)
    trainer = build_trainer(
        model, optim, lambda m, batch, progress: {"a": (m(batch) - batch[:, :1]).square().mean()}, **options
    )
    if clipping is not None:
        clipping.attach(trainer, optim)
    return trainer, model, optim


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_rule_is_followed_and_shadows_are_only_told():
    clipping = GradientClipping(MaxNorm(5.0), shadow=[MaxNorm(2.0), MaxNorm(20.0), AGC(0.1)])
    parameter = with_gradient(6.0, 8.0)
    assert clipping.clip([parameter]).item() == 10.0
    torch.testing.assert_close(parameter.grad, torch.tensor([3.0, 4.0]))
    assert clipping.measures() == {
        "train/clip_threshold": 5.0,
        "train/clipped": 1.0,
        "train/shadow/maxnorm/threshold": 2.0,
        "train/shadow/maxnorm/clipped": 1.0,
        "train/shadow/maxnorm_2/threshold": 20.0,
        "train/shadow/maxnorm_2/clipped": 0.0,
        "train/shadow/agc/clipped": 1.0,
    }
    clipping.clip([with_gradient(0.0, 1.0)])
    assert (clipping.clipped, clipping.shadow_clipped) == (1, {"maxnorm": 1, "maxnorm_2": 0, "agc": 2})


def test_a_rule_of_ones_own_needs_two_methods():
    class Drop:
        """Takes away gradients that are larger than those of the step before."""

        last = math.inf

        def judge(self, gradients):
            clipped, self.last = gradients.size > self.last, gradients.size
            return Verdict(clipped, self.last)

        def cut(self, gradients, verdict):
            gradients.scale(0.0, verdict.clipped)

    clipping = GradientClipping(Drop(), shadow=[Drop()])
    parameters = [with_gradient(norm) for norm in (2.0, 3.0, 1.0)]
    for parameter in parameters:
        clipping.clip([parameter])
    assert [parameter.grad.item() for parameter in parameters] == [2.0, 0.0, 1.0]
    assert (clipping.clipped, clipping.shadow_clipped) == (1, {"drop": 1})
    clipping.load_state_dict(through_a_file(clipping.state_dict()))
    assert clipping.clipped == 1


def test_shadows_see_gradients_as_they_were_before_the_rule():
    clipping = GradientClipping(max_value=0.1, shadow=[AGC(1.0, eps=1.0), MaxValue(0.2)])
    clipping.clip([with_gradient(3.0, 4.0)])  # 0.14 after clipping, which neither would cut
    assert clipping.shadow_clipped == {"agc": 1, "maxvalue": 1}


@pytest.mark.parametrize("rule", [None, *RULES])
def test_shadows_change_no_weight_by_a_bit(rule):
    def train(shadow):
        clipping = GradientClipping(None if rule is None else RULES[rule](), shadow=shadow)
        trainer, model, _ = world(clipping)
        trainer.run(batches_of(20, spike=9))
        return weights(model), clipping.clipped

    shadows = [make() for make in RULES.values()]
    with_shadows, without = train(shadows), train([])
    assert torch.equal(with_shadows[0], without[0])
    assert with_shadows[1] == without[1]


def test_a_step_without_gradients_is_told_as_nothing():
    clipping = GradientClipping(ZClip(), shadow=[AutoClip()])
    clipping.clip([with_gradient(3.0, 4.0)])
    assert len(clipping.measures()) == 4
    assert clipping.clip([nn.Parameter(torch.ones(1))]).item() == 0.0
    assert clipping.measures() == {}
    assert clipping.rule.state_dict()["seen"] == 1


def test_measures_of_a_run_come_with_every_step():
    clipping = GradientClipping(AutoClip(50), shadow=[ZClip(warmup=2)])
    trainer, _, _ = world(clipping)
    rows = []
    trainer.add_event_handler(StepEvents.STEP_COMPLETED, lambda engine: rows.append(clipping.measures(engine)))
    trainer.run(batches_of(8, spike=5))
    assert all(isinstance(value, float) for row in rows for value in row.values())
    assert [row["train/shadow/zclip/threshold"] for row in rows[:2]] == [math.inf] * 2
    assert rows[5]["train/shadow/zclip/clipped"] == 1.0
    assert sum(row["train/clipped"] for row in rows) == clipping.clipped
    assert sum(row["train/shadow/zclip/clipped"] for row in rows) == clipping.shadow_clipped["zclip"]


# ------------------------------------------------------------------------------------------------------------- stories


@pytest.mark.parametrize("rule", [AutoClip, ZClip])
def test_one_batch_of_a_thousandfold_size_moves_the_weights_no_further_than_others(rule):
    """V13, V24: nothing in ignite clips, so one such batch is one such step."""
    clip_users = [path for path in Path(ignite.__file__).parent.rglob("*.py") if "clip_grad" in path.read_text()]
    assert clip_users == []

    def steps(clipping, spike):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
        if clipping is not None:
            clipping.attach(trainer, optimizer)
        moved, before = [], weights(model)

        @trainer.on(Events.ITERATION_COMPLETED)
        def measure(engine):
            moved.append((weights(model) - before).norm().item())
            before.copy_(weights(model))

        trainer.run([(x, torch.randn(4, 1)) for x in batches_of(40, spike)])
        return moved

    usual = max(steps(None, None))
    assert steps(None, 30)[30] > 1e4 * usual
    assert max(steps(GradientClipping(rule()), 30)) <= usual


@pytest.mark.parametrize(("optimizer", "clean", "hurt"), [(torch.optim.Adam, 0.05, 0.5), (torch.optim.SGD, 0.1, 1e4)])
def test_a_regression_with_one_batch_a_thousand_times_too_large_ends_like_the_clean_one(optimizer, clean, hurt):
    generator = torch.Generator().manual_seed(1)

    def truth(x):
        return torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2

    batches = [(x, truth(x)) for x in torch.randn(400, 32, 4, generator=generator)]
    broken = [(x * 1000, y) if index == 200 else (x, y) for index, (x, y) in enumerate(batches)]
    val = torch.randn(1000, 4, generator=generator)

    def train(batches, rule=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
        optim = optimizer(model.parameters(), lr=0.01 if optimizer is torch.optim.Adam else 0.05)
        trainer = build_trainer(model, optim, lambda m, batch, p: {"a": nn.functional.mse_loss(m(batch[0]), batch[1])})
        GradientClipping(rule).attach(trainer, optim)
        NonFiniteSteps(max_skips=1000).attach(trainer, optim)
        trainer.run(batches)
        with torch.no_grad():
            return nn.functional.mse_loss(model(val), truth(val)).item()

    assert train(batches) < clean
    assert train(broken) > hurt  # measured: 0.82 for Adam, infinite for SGD
    for rule in (MaxNorm(1.0), AutoClip(90), ZClip()):
        assert train(broken, rule) < clean


@pytest.mark.parametrize("rule", RULES)
def test_a_bad_batch_is_as_if_it_had_not_been(rule):
    """With the guard behind it, a step with NaN leaves weights, moments, the rule and its counts untouched."""
    batches = batches_of(20)
    with_bad = [*batches[:9], torch.full((4, 3), math.nan), *batches[9:]]

    def train(batches):
        clipping = GradientClipping(RULES[rule](), shadow=[AutoClip(), ZClip()])
        trainer, model, optimizer = world(clipping)
        NonFiniteSteps().attach(trainer, optimizer)
        trainer.run(batches)
        return weights(model), clipping.state_dict()

    (ours, state), (theirs, expected) = train(with_bad), train(batches)
    assert torch.equal(ours, theirs)
    assert plain(state) == plain(expected)


def plain(state):
    """A state with lists in place of tensors, so that it can be compared."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, torch.Tensor) else state


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_that_fails_half_way_goes_on_to_the_same_bits(rule):
    """Two batches a step; saved after four steps, fails in the middle of the sixth, resumed from the save."""
    batches = batches_of(24, spike=14)

    def make():
        clipping = GradientClipping(RULES[rule](), shadow=[AutoClip(), ZClip(warmup=2)])
        return clipping, *world(clipping, accumulate=2)

    clipping, trainer, model, _ = make()
    trainer.run(batches)
    straight, counts = weights(model), (clipping.clipped, clipping.shadow_clipped)

    clipping, trainer, model, optimizer = make()
    saved = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def save_and_fail(engine):
        if engine.state.iteration == 8:
            saved.append(through_a_file([model.state_dict(), optimizer.state_dict(), clipping.state_dict()]))
        if engine.state.iteration == 11:
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        trainer.run(batches)

    clipping, trainer, model, optimizer = make()
    for part, state in zip((model, optimizer, clipping), saved[0], strict=True):
        part.load_state_dict(state)
    trainer.run(batches[8:])
    assert torch.equal(weights(model), straight)
    assert (clipping.clipped, clipping.shadow_clipped) == counts
    assert clipping.clipped > 0


def test_a_rule_that_fails_leaves_the_gradients_to_nobody():
    """The error is told before anything was cut, and no step is taken."""
    layer = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    engine = Engine(lambda engine, batch: (layer(batch).sum().backward(), optimizer.step()))
    GradientClipping(max_norm=0.1, shadow=[AGC()]).attach(engine, optimizer)
    before = weights(layer)
    with pytest.raises(ValueError, match="AGC cannot clip the sparse gradient"):
        engine.run([torch.tensor([1, 2])])
    assert torch.equal(weights(layer), before)
    assert layer.weight.grad.to_dense().max() == 1.0


def test_a_state_of_another_rule_is_refused():
    zclip = GradientClipping(ZClip())
    for other, kind in ((GradientClipping(max_norm=1.0), "MaxNorm"), (GradientClipping(), "None")):
        with pytest.raises(ValueError, match=f"saved with the rule ZClip, and the rule here is {kind}"):
            other.load_state_dict(zclip.state_dict())
    with pytest.raises(ValueError, match="saved with the rule None, and the rule here is ZClip"):
        zclip.load_state_dict(GradientClipping().state_dict())


def test_a_shadow_may_join_or_leave_a_run_under_way():
    first = GradientClipping(max_norm=1.0, shadow=[ZClip(), AutoClip(0)])
    first.clip([with_gradient(3.0, 4.0)])
    first.clip([with_gradient(6.0, 8.0)])
    second = GradientClipping(max_norm=1.0, shadow=[AutoClip(0), AGC()])
    second.load_state_dict(through_a_file(first.state_dict()))
    assert (second.clipped, second.shadow_clipped) == (2, {"autoclip": 1, "agc": 0})
    second.clip([with_gradient(6.0, 8.0)])
    assert second.measures()["train/shadow/autoclip/threshold"] == 5.0


# ------------------------------------------------------------------------------------------------------- kinds of loop


def test_a_rule_sees_a_group_of_accumulated_batches_once():
    clipping = GradientClipping(AutoClip())
    trainer, _, _ = world(clipping, accumulate=4)
    norms = []
    trainer.add_event_handler(StepEvents.STEP_COMPLETED, lambda e: norms.append(e.state.gradient_norm.item()))
    trainer.run(batches_of(10))  # groups of 4, 4 and 2
    assert clipping.rule.state_dict()["norms"].tolist() == norms
    assert len(norms) == 3


def test_in_our_fp16_training_steps_that_overflow_are_not_counted():
    clipping = GradientClipping(AutoClip(), shadow=[ZClip(warmup=2)])
    trainer, model, optimizer = world(clipping, precision=Precision(amp="fp16"))
    NonFiniteSteps(max_skips=0).attach(trainer, optimizer)
    happened = []
    trainer.add_event_handler(StepEvents.STEP_SKIPPED, lambda engine: happened.append("skipped"))
    trainer.add_event_handler(StepEvents.STEP_COMPLETED, lambda engine: happened.append("taken"))
    trainer.run([batch * 30 for batch in batches_of(20)])
    assert happened[:2] == ["skipped", "skipped"]  # a loss scale of 65536 is too large for these
    taken = happened.count("taken")
    norms = clipping.rule.state_dict()["norms"]
    assert len(norms) == taken > 10
    assert norms.isfinite().all()
    assert clipping.state_dict()["shadow"]["zclip"]["statistics"]["seen"] == taken
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", ["auto clip", "zclip"])
def test_under_a_loss_scaler_a_rule_sees_true_norms_and_no_overflow(optimizer, rule):
    def train(scaler, batches):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optim = OPTIMIZERS[optimizer](model.parameters())

        def step(engine, batch):
            optim.zero_grad()
            scaler.scale((model(batch) - 1).square().mean()).backward()
            scaler.step(optim)
            scaler.update()

        engine, clipping = Engine(step), GradientClipping(RULES[rule]())
        clipping.attach(engine, optim)
        NonFiniteSteps().attach(engine, optim)
        engine.run(batches)
        return weights(model), clipping.state_dict()

    batches = batches_of(12, spike=8)
    overflowing = [*batches[:5], torch.full((4, 3), math.inf), *batches[5:]]
    ours, state = train(torch.amp.GradScaler("cpu", init_scale=1024.0), overflowing)
    theirs, expected = train(torch.amp.GradScaler("cpu", enabled=False), batches)
    torch.testing.assert_close(ours, theirs)
    assert state["clipped"] == expected["clipped"] > 0
    for name, value in state["statistics"].items():
        torch.testing.assert_close(torch.as_tensor(value), torch.as_tensor(expected["statistics"][name]))


@pytest.mark.parametrize("rule", RULES)
def test_a_bf16_model_is_trained_and_clipped(rule):
    clipping = GradientClipping(RULES[rule]())
    trainer, model, _ = world(clipping)
    model.to(torch.bfloat16)
    trainer.run([batch.bfloat16() for batch in batches_of(10, spike=6)])
    assert trainer.state.gradient_norm.dtype == torch.float32
    assert clipping.clipped > 0
    assert weights(model).isfinite().all()


def test_two_processes_have_the_same_thresholds_and_weights(two_processes):
    """Each sees other data; gradients are averaged before they are judged, so no rule has to ask the other process."""
    answers = two_processes(
        textwrap.dedent("""
        import json, torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from ignition import distributed
        from ignition.engine import build_trainer
        from ignition.events import StepEvents
        from ignition.handlers import AutoClip, GradientClipping, ZClip

        def train(rule, shadow):
            torch.manual_seed(0)
            model = DistributedDataParallel(nn.Linear(3, 1))
            optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
            losses = lambda model, batch, progress: {"a": (model(batch) - 1).square().mean()}
            trainer = build_trainer(model, optimizer, losses, accumulate=2)
            clipping = GradientClipping(rule, shadow=[shadow])
            clipping.attach(trainer, optimizer)
            rows = []
            trainer.add_event_handler(StepEvents.STEP_COMPLETED, lambda engine: rows.append(clipping.measures(engine)))
            generator = torch.Generator().manual_seed(distributed.rank())
            batches = list(torch.randn(20, 4, 3, generator=generator))
            batches[14] = batches[14] * (1000 if distributed.rank() == 1 else 1)
            trainer.run(batches)
            return [p.flatten().tolist() for p in model.parameters()], rows, clipping.clipped, batches[0][0].tolist()

        with distributed.process_group("cpu", timeout_seconds=60):
            print(json.dumps([train(AutoClip(50), ZClip(warmup=3)), train(ZClip(warmup=3), AutoClip(50))]))
        """)
    )
    first, second = map(json.loads, answers)
    for mine, other in zip(first, second, strict=True):
        assert mine[:3] == other[:3]
        assert mine[3] != other[3]  # they did see other data
        assert mine[2] > 0
        assert len(mine[1]) == 10


@pytest.mark.parametrize(
    ("rule", "limit"), [(lambda: MaxNorm(2.0), "max_norm"), (lambda: MaxValue(2.0), "max_value"), (AGC, "clipping")]
)
def test_a_limit_can_be_tightened_and_stays_so_over_a_resume(rule, limit):
    clipping = GradientClipping(rule())
    before = getattr(clipping.rule, limit)
    assert clipping.tighten(0.5) and clipping.tighten(0.5)
    assert getattr(clipping.rule, limit) == 0.25 * before
    resumed = GradientClipping(rule())
    resumed.load_state_dict(clipping.state_dict())
    assert getattr(resumed.rule, limit) == 0.25 * before
    clipping.load_state_dict(GradientClipping(rule()).state_dict())  # taken back to before
    assert getattr(clipping.rule, limit) == before


def test_a_rule_that_finds_its_limit_by_itself_has_none_to_tighten():
    assert not GradientClipping(ZClip()).tighten(0.5)
    assert not GradientClipping().tighten(0.5)
    with pytest.raises(ValueError, match="factor is 2.0; it lowers the limit"):
        GradientClipping(max_norm=1.0).tighten(2.0)


@pytest.mark.parametrize("rule", [None, MaxNorm(1.0), AutoClip(), ZClip(), AGC()], ids=lambda rule: type(rule).__name__)
def test_one_huge_gradient_does_not_freeze_adam(rule):
    """Without a limit its square stays in the second moment, and the steps after it are next to none."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 8, generator=generator))
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    moved = []

    def step(engine, batch):
        before = weight.detach().clone()
        optimizer.zero_grad()
        noise = torch.randn(8, 8, generator=generator)
        ((noise + 1.0) * weight).mean().mul(1e6 if engine.state.iteration == 100 else 1.0).backward()
        optimizer.step()
        moved.append(float((weight.detach() - before).abs().mean()))

    trainer = Engine(step)
    GradientClipping(rule).attach(trainer, optimizer)
    trainer.run(range(300))
    usual, after = sum(moved[50:99]) / 49, sum(moved[200:300]) / 100
    if rule is None:
        assert after < usual / 1000
    else:
        assert usual / 3 < after < 3 * usual

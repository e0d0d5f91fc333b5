import json
import math
import textwrap

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn

from ignition.engine import build_trainer
from ignition.events import Diverged, StepEvents
from ignition.handlers import GradientClipping, LearningRate, NonFiniteSteps

NAN, INF = math.nan, math.inf
GOOD, BAD = torch.ones(1, 2), torch.full((1, 2), NAN)


def square(model, batch, progress=None):
    return {"square": model(batch).square().mean()}


def training(guard, optimizer=torch.optim.AdamW, clip=None, accumulate=1):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optim = optimizer(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optim, square, accumulate=accumulate)
    if clip is not None:
        GradientClipping(max_norm=clip).attach(trainer, optim)
    guard.attach(trainer, optim)
    return trainer, model, optim


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_bad_batch_changes_neither_weights_nor_moments(clip):
    with_bad, model, optimizer = training(NonFiniteSteps(), clip=clip)
    with_bad.run([GOOD, BAD, GOOD])
    without, reference, reference_optimizer = training(NonFiniteSteps(), clip=clip)
    without.run([GOOD, GOOD])
    assert torch.equal(weights(model), weights(reference))
    for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            assert torch.equal(value, reference_optimizer.state[other][name])


def test_one_bad_batch_of_a_group_leaves_the_whole_group_out():
    guard = NonFiniteSteps()
    trainer, model, _ = training(guard, accumulate=2)
    before = weights(model)
    trainer.run([GOOD, BAD])  # the last batch of the group may well have a fine loss: the gradients tell
    assert guard.skipped == 1
    trainer.run([BAD, GOOD])
    assert guard.skipped == 2
    assert torch.equal(weights(model), before)


def test_a_loss_that_is_not_finite_counts_though_its_gradient_is():
    guard = NonFiniteSteps()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"a": model(batch).mean() + INF})
    guard.attach(trainer, optimizer)
    before = weights(model)
    trainer.run([GOOD])
    assert guard.skipped == 1
    assert torch.equal(weights(model), before)


def test_v16_weights_are_still_finite_when_it_acts():
    def foreign():
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return create_supervised_trainer(model, optimizer, nn.functional.mse_loss), model, optimizer

    batches = [(GOOD, torch.zeros(1, 1)), (BAD, torch.zeros(1, 1)), (GOOD, torch.zeros(1, 1))]
    trainer, model, _ = foreign()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, ignite.handlers.TerminateOnNan())
    completed = []
    trainer.add_event_handler(Events.COMPLETED, lambda engine: completed.append(weights(model)))
    trainer.run(batches)
    assert completed[0].isnan().all()  # what a checkpoint of the completed run would have kept

    trainer, model, optimizer = foreign()
    guard = NonFiniteSteps()
    guard.attach(trainer, optimizer)
    trainer.run(batches)
    assert weights(model).isfinite().all()
    assert (trainer.state.iteration, guard.skipped, guard.in_row) == (3, 1, 0)


def test_more_than_max_skips_in_a_row_is_an_error_that_says_what_and_where():
    guard = NonFiniteSteps(max_skips=2)
    trainer, model, _ = training(guard)
    before = weights(model)
    with pytest.raises(Diverged) as error:
        trainer.run([BAD] * 9)
    assert str(error.value) == (
        "loss and gradient not finite at iteration 3, the last of 3 steps in a row (loss nan, gradient norm nan); "
        "the step was not taken"
    )
    assert torch.equal(weights(model), before)


def test_good_steps_between_bad_ones_start_the_count_anew():
    guard = NonFiniteSteps(max_skips=2)
    trainer, _, _ = training(guard)
    trainer.run([BAD, BAD, GOOD, BAD, BAD, GOOD])
    assert (guard.skipped, guard.in_row) == (4, 0)


def test_the_policy_stop_ends_at_the_first_as_a_failure():
    trainer, _, _ = training(NonFiniteSteps(policy="stop"))
    with pytest.raises(Diverged, match=r"at iteration 2 .* the step was not taken"):
        trainer.run([GOOD, BAD, GOOD])
    assert trainer.state.iteration == 2


def test_skipped_steps_are_told_and_do_not_move_the_schedule():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, square)
    NonFiniteSteps().attach(trainer, optimizer)
    rate = LearningRate(optimizer, lambda step: 1.0)
    rate.attach(trainer)
    skipped = []
    trainer.add_event_handler(StepEvents.STEP_SKIPPED, lambda engine: skipped.append(engine.state.iteration))
    trainer.run([GOOD, BAD, GOOD, BAD])
    assert skipped == [2, 4]
    assert rate.steps == 2


def test_uses_the_norm_that_clipping_measured_in_this_step_and_no_older_one():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = build_trainer(model, optimizer, square)
    measured = GradientClipping()
    guard = NonFiniteSteps()
    guard.attach(trainer, optimizer)  # the wrong way round: the norm lying there is always the step before's
    measured.attach(trainer, optimizer)
    trainer.run([GOOD, BAD, GOOD])
    assert guard.skipped == 1


@pytest.mark.parametrize("fused", [False, True])
def test_an_overflow_under_a_loss_scaler_leaves_the_weights_and_halves_the_scale(fused):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(engine, batch):
        optimizer.zero_grad()
        scaler.scale(square(model, batch)["square"]).backward()
        scaler.step(optimizer)
        scaler.update()

    engine = Engine(step)
    guard = NonFiniteSteps()
    guard.attach(engine, optimizer)
    before = weights(model)
    engine.run([torch.full((1, 2), INF)])
    assert torch.equal(weights(model), before)
    assert scaler.get_scale() == 512.0
    assert guard.skipped == int(fused)  # the step of an unfused optimizer is left out by the scaler already


def test_a_loss_that_still_has_its_graph_is_read_without_a_warning(recwarn):
    weight = nn.Parameter(torch.tensor(1.0))
    assert NonFiniteSteps().update(torch.tensor(1.0), weight * INF) is True
    assert len(recwarn) == 0


def test_counts_survive_a_resume_in_the_middle_of_a_row():
    first = NonFiniteSteps(max_skips=2)
    assert [first.update(torch.tensor(NAN)) for _ in range(2)] == [True, True]
    second = NonFiniteSteps(max_skips=2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    with pytest.raises(Diverged, match="gradient not finite at iteration 8, the last of 3 steps in a row"):
        second.update(torch.tensor(INF), iteration=8)


@pytest.mark.parametrize(
    ("settings", "message"), [({"policy": "ignore"}, "policy is 'ignore'"), ({"max_skips": -1}, "max_skips is -1")]
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NonFiniteSteps(**settings)


def test_two_processes_decide_alike(two_processes):
    """NaN on process 1 alone, once in the gradient and once only in the loss: both leave the same steps out."""
    answers = two_processes(
        textwrap.dedent("""
        import json, math, torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from ignite.engine import Engine
        from ignition import distributed
        from ignition.events import Diverged, StepEvents
        from ignition.handlers import GradientClipping, NonFiniteSteps

        with distributed.process_group("cpu", timeout_seconds=60):
            rank = distributed.rank()
            torch.manual_seed(0)
            model = DistributedDataParallel(nn.Linear(2, 1))
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
            fault = None

            def step(engine, batch):
                optimizer.zero_grad()
                loss = model(torch.full((1, 2), float(rank + 1))).square().mean()
                engine.state.loss = loss.detach()
                if rank == 1 and batch == "gradient":
                    loss = loss * math.nan
                if rank == 1 and batch == "loss":
                    engine.state.loss = torch.tensor(math.nan)
                loss.backward()
                optimizer.step()

            trainer = Engine(step)
            GradientClipping(max_norm=1.0).attach(trainer, optimizer)
            guard = NonFiniteSteps(max_skips=1)
            guard.attach(trainer, optimizer)
            skipped = []
            trainer.add_event_handler(StepEvents.STEP_SKIPPED, lambda engine: skipped.append(engine.state.iteration))
            trainer.run(["fine", "gradient", "fine", "loss", "fine"])
            try:
                trainer.run(["loss", "loss"])
            except Diverged as error:
                diverged = str(error)
            weights = [float(value) for parameter in model.parameters() for value in parameter.flatten()]
            print(json.dumps({"weights": weights, "skipped": skipped, "diverged": diverged}))
        """)
    )
    first, second = map(json.loads, answers)
    assert first["skipped"] == second["skipped"] == [2, 4, 1]
    assert first["weights"] == second["weights"]
    assert all(map(math.isfinite, first["weights"]))
    assert first["diverged"].startswith(
        "loss not finite at iteration 2, the last of 2 steps in a row (on another process"
    )
    assert second["diverged"].startswith("loss not finite at iteration 2, the last of 2 steps in a row (loss nan")


def test_a_scaler_that_looks_for_its_scale_is_no_trouble():
    guard = NonFiniteSteps(max_skips=1)
    inf, loss = torch.tensor(float("inf")), torch.tensor(1.0)
    assert [guard.update(inf, loss, scaled=True) for _ in range(5)] == [True] * 5
    assert (guard.skipped, guard.in_row) == (5, 0)
    with pytest.raises(Diverged):
        for _ in range(2):
            guard.update(inf, torch.tensor(float("nan")), scaled=True)  # a loss that is not finite is


def test_large_gradients_in_sixteen_bits_are_no_false_alarm():
    """Their norm is 120000, beyond what 16 bits can say; every element is finite."""
    weight = nn.Parameter(torch.zeros(16, dtype=torch.float16))
    optimizer = torch.optim.SGD([weight], lr=0.0)

    def step(engine, batch):
        weight.grad = torch.full_like(weight, 3e4)
        optimizer.step()

    trainer, guard = Engine(step), NonFiniteSteps()
    guard.attach(trainer, optimizer)
    trainer.run([0])
    assert guard.skipped == 0

import copy
import json
import logging
import math
import textwrap

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.engine import build_trainer
from ignition.events import Diverged
from ignition.handlers import EMA, Consensus, Cosine, LearningRate, NonFiniteSteps
from ignition.handlers.recovery import Recovery, Return
from ignition.precision import Precision

NAN, INF = math.nan, math.inf


def one_weight(value=0.0):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def snapshots_of(*iterations, **settings):
    """A weight, which is the number of the iteration after which it is so, and a snapshot at each of these."""
    model = one_weight()
    recovery = Recovery({"model": model}, **settings)
    for iteration in iterations:
        nn.init.constant_(model.weight, float(iteration))
        assert recovery.snapshot(iteration)
    nn.init.constant_(model.weight, NAN)
    return model, recovery


def ask(trainer, *iterations, reason="loss 9e9", suspected=None, recovery=None):
    """A handler that finds something wrong in these iterations."""

    @trainer.on(Events.ITERATION_COMPLETED(event_filter=lambda engine, count: count in iterations))
    def find(engine):
        if suspected is not None:
            recovery.suspect(suspected)
        Consensus.of(engine).ask("rollback", reason)


def counting(step=lambda engine: None, **settings):
    """An engine whose steps make the only weight the number of its iteration."""
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    recovery = Recovery({"model": model, "optimizer": optimizer}, **settings)

    def iterate(engine, batch):
        optimizer.step()
        nn.init.constant_(model.weight, float(engine.state.iteration))
        step(engine)

    trainer = Engine(iterate)
    recovery.attach(trainer)
    return trainer, model, recovery


# ----------------------------------------------------------------------------------------------- which snapshot counts


@pytest.mark.parametrize(
    ("suspected", "wrong", "back_to"),
    [
        (None, 42, 40),
        (None, 41, 30),  # what iteration 41 measures, it measures on the weights of iteration 40
        (25, 42, 20),
        (31, 42, 20),  # those of iteration 30 were measured in the first iteration that is suspected
        (32, 42, 30),
        (21, 42, 20),  # taken before, though nobody has called it good: there is none older
        (99, 41, 30),
    ],
)
def test_the_newest_counts_with_which_an_iteration_went_well(suspected, wrong, back_to):
    model, recovery = snapshots_of(10, 20, 30, 40)
    recovery.suspect(suspected)
    assert recovery.restore("odd", wrong) == Return(wrong, back_to, "odd", 1.0)
    assert model.weight.item() == back_to


def test_a_snapshot_that_goes_wrong_at_once_gives_way_to_an_older_one():
    _, recovery = snapshots_of(10, 20, 30)
    assert [recovery.restore("odd", wrong).snapshot for wrong in (35, 36, 37)] == [30, 20, 10]
    _, recovery = snapshots_of(10, 20, 30)
    assert [recovery.restore("odd", wrong).snapshot for wrong in (35, 37, 39)] == [30, 30, 30]


def test_the_only_snapshot_counts_whatever_was_measured_with_it():
    model, recovery = snapshots_of(0)
    assert recovery.restore("odd", 1).snapshot == 0
    assert model.weight.item() == 0.0


def test_the_earliest_place_that_was_named_holds_until_it_is_taken_back_or_acted_upon():
    _, recovery = snapshots_of(10, 20, 30, attempts=9)
    recovery.suspect(15)
    recovery.suspect(28)
    assert recovery.restore("odd", 40).snapshot == 10
    assert recovery.snapshot(50)
    assert recovery.restore("odd", 60).snapshot == 50
    recovery.suspect(15)
    recovery.suspect(None)
    assert recovery.restore("odd", 70).snapshot == 50


def test_only_the_newest_are_kept_and_those_after_the_one_gone_back_to_are_dropped():
    _, recovery = snapshots_of(10, 20, 30, 40, keep=3)
    recovery.suspect(15)
    with pytest.raises(Diverged) as error:
        recovery.restore("loss 9", 45)
    assert str(error.value) == (
        "loss 9 (iteration 45), and there is no snapshot that is from before iteration 15 to go back to "
        "(only of 20, 30, 40)"
    )
    recovery.suspect(None)
    recovery.suspect(32)
    assert recovery.restore("loss 9", 45).snapshot == 30
    assert recovery.restore("loss 9", 50).snapshot == 30  # 40 came of what was wrong


def test_a_run_that_is_somewhere_once_more_has_never_had_what_came_after():
    model, recovery = snapshots_of(10, 20, 30)
    nn.init.constant_(model.weight, 7.0)
    recovery.snapshot(20)
    assert recovery.restore("odd", 40).snapshot == 20
    assert model.weight.item() == 7.0


def test_without_a_snapshot_it_has_diverged():
    recovery = Recovery({"model": one_weight()})
    with pytest.raises(Diverged, match=r"^loss nan \(iteration 3\), and there is no snapshot to go back to$"):
        recovery.restore("loss nan", 3)
    assert recovery.returns == []


# ------------------------------------------------------------------------------------------------ what is given back


def stepped(model, optimizer, count=1):
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
    return [value.clone() for value in [*model.parameters(), *tensors(optimizer)]]


def tensors(optimizer):
    values = (value for state in optimizer.state.values() for value in state.values())
    return [value for value in values if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, foreach=True),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    ],
)
def test_moments_come_back_and_a_snapshot_is_a_copy_that_steps_in_place_do_not_reach(make):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    stepped(model, optimizer, 3)
    recovery = Recovery({"model": model, "optimizer": optimizer})
    recovery.snapshot(3)
    expected = stepped(model, optimizer, 2)
    for iteration in (9, 15):  # the second return finds the snapshot as the first did
        stepped(model, optimizer, 4)
        recovery.restore("odd", iteration)
        assert all(map(torch.equal, stepped(model, optimizer, 2), expected))


def test_from_before_the_first_step_there_are_no_moments():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recovery = Recovery({"model": model, "optimizer": optimizer})
    recovery.snapshot(0)
    expected = stepped(model, optimizer, 2)
    recovery.restore("odd", 3)
    assert tensors(optimizer) == []
    assert all(map(torch.equal, stepped(model, optimizer, 2), expected))


def test_what_schedules_move_stays_and_what_the_optimizer_notes_in_its_groups_comes_back():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.1), weight_decay=0.1)
    optimizer.param_groups[0]["weight_sum"] = 4.0  # as schedule-free optimizers do
    rate = optimizer.param_groups[0]["lr"]
    recovery = Recovery({"model": model, "optimizer": optimizer})
    recovery.snapshot(0)
    rate.fill_(0.05)
    optimizer.param_groups[0].update(weight_decay=0.2, betas=(0.8, 0.99), weight_sum=NAN)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.3})
    recovery.restore("odd", 3)
    first, added = optimizer.param_groups
    assert first["lr"] is rate
    assert (rate.item(), first["weight_decay"], first["betas"], first["weight_sum"]) == (
        pytest.approx(0.05), 0.2, (0.8, 0.99), 4.0,
    )  # fmt: skip
    assert added["lr"] == 0.3


def test_gradients_of_what_went_wrong_are_dropped():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recovery = Recovery({"model": model, "optimizer": optimizer})
    recovery.snapshot(0)
    model(torch.full((1, 3), INF)).sum().backward()
    recovery.restore("odd", 1)
    assert model.weight.grad is None


def test_scale_of_losses_average_and_running_statistics_come_back():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision, ema = Precision("cpu", amp="fp16"), EMA(model, decay=0.9)
    recovery = Recovery({"model": model, "optimizer": optimizer, "precision": precision, "ema": ema})

    def train(batch):
        with precision.autocast():
            loss = model(batch).float().square().mean()
        precision.backward(loss)
        precision.unscale(optimizer)
        precision.step(optimizer)
        precision.update()
        optimizer.zero_grad()
        ema.update()

    def all_of_it():
        mean, average = model[1].running_mean, ema.module.state_dict()
        return precision.loss_scale, ema.updates, [mean.clone(), *(value.clone() for value in average.values())]

    train(torch.randn(4, 3))
    recovery.snapshot(1)
    scale, updates, values = all_of_it()
    for _ in range(2):
        train(torch.full((4, 3), 1e30))
    assert precision.loss_scale == scale / 4
    recovery.restore("overflow", 3)
    assert (precision.loss_scale, ema.updates) == (scale, updates)
    assert all(map(torch.equal, all_of_it()[2], values))


def test_the_rate_is_cut_at_once_and_the_schedule_goes_on_from_where_it_is():
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rate = LearningRate(optimizer, lambda step: 1.0 - step / 10, min_lr=0.2)
    recovery = Recovery({"model": model, "optimizer": optimizer}, rate, cut=0.5, attempts=4)
    recovery.snapshot(0)
    rate.step()
    rate.step()
    assert recovery.restore("odd", 2).factor == 0.5
    assert (rate.steps, optimizer.param_groups[0]["lr"]) == (2, pytest.approx(0.4))
    factors = [recovery.restore("odd", iteration).factor for iteration in (4, 6, 8)]
    assert factors == [0.5, 0.5, 1.0]  # it is at its floor
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


# -------------------------------------------------------------------------------------------------------- on an engine


@pytest.mark.parametrize(
    ("risen", "cut", "factor"), [(100.0, 0.5, 0.01), (1.5, 0.5, 0.5), (0.1, 0.5, 0.5), (4.0, 1.0, 0.25)]
)
def test_a_rate_that_had_risen_since_the_snapshot_comes_down_to_what_it_was(risen, cut, factor):
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    rate = LearningRate(optimizer, lambda step: risen if step >= 5 else 1.0)
    recovery = Recovery({"model": model, "optimizer": optimizer}, rate, cut=cut)
    recovery.snapshot(4)
    for _ in range(6):
        rate.step()
    assert recovery.restore("loss 9e9", 7).factor == pytest.approx(factor)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * risen * factor)


def rated(rates, *, rise=None):
    """The rate after a rollback to the start of a run with these rates."""
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rate = LearningRate(optimizer, lambda step: [*rates, rates[-1]][min(int(step), len(rates))])
    recovery = Recovery({"model": model, "optimizer": optimizer}, rate, cut=0.5, every=99)

    def iterate(engine, batch):
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()

    trainer = Engine(iterate)
    rate.attach(trainer)
    recovery.attach(trainer)
    if rise is not None:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=rise), recovery.expect_rise)
    ask(trainer, len(rates))
    trainer.run(range(len(rates)))
    return optimizer.param_groups[0]["lr"]


def test_a_rate_that_was_on_its_way_down_when_it_jumped_comes_back_to_where_it_was():
    assert rated([1.0, 0.9, 0.8, 0.7, 70.0, 70.0]) == pytest.approx(0.7)


def test_a_rise_on_purpose_is_not_taken_back():
    assert rated([0.1, 0.01, 0.001, 1.0, 1.0]) == pytest.approx(0.001)
    assert rated([0.1, 0.01, 0.001, 1.0, 1.0], rise=4) == pytest.approx(0.5)


def test_the_run_goes_on_and_what_it_did_is_told(caplog):
    told = []
    trainer, model, recovery = counting(every=3, after=lambda engine, done: told.append((engine, done)))
    seen = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: seen.append(model.weight.item()))
    ask(trainer, 8)
    with caplog.at_level(logging.WARNING, "ignition"):
        trainer.run(range(10))
    assert trainer.state.iteration == 10
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 6, 9]  # iteration 9 begins with what iteration 6 left
    assert recovery.returns == [Return(8, 6, "loss 9e9", 1.0)]
    assert told == [(trainer, recovery.returns[0])]
    assert [record.message for record in caplog.records] == [
        "iteration 8: on with the weights of iteration 6 and the learning rate times 1, since loss 9e9"
    ]


@pytest.mark.parametrize(
    ("wrong", "back_to"),
    [
        (6, 3),  # the snapshot that is due after iteration 6 is not taken before it was judged
        (7, 3),  # it was, and what iteration 7 measured, it measured on the weights of iteration 6
        (8, 6),
    ],
)
def test_what_was_wrong_in_the_iteration_of_a_snapshot(wrong, back_to):
    trainer, _, recovery = counting(every=3)
    ask(trainer, wrong)
    trainer.run(range(10))
    assert [done.snapshot for done in recovery.returns] == [back_to]


def test_while_things_are_suspected_no_snapshot_drives_out_a_good_one():
    trainer, _, recovery = counting(every=2, keep=2)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), lambda engine: recovery.suspect(5))
    ask(trainer, 15)
    trainer.run(range(20))
    assert recovery.returns == [Return(15, 2, "loss 9e9", 1.0)]


def square(model, batch, progress=None):
    return {"square": model(batch).square().mean()}


def test_steps_count_and_a_group_of_accumulated_batches_is_never_split():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, square, accumulate=3)
    NonFiniteSteps().attach(trainer, optimizer)
    recovery = Recovery({"model": model, "optimizer": optimizer}, every=2)
    recovery.attach(trainer)
    weights, taken, take = {}, [], recovery.snapshot
    recovery.snapshot = lambda iteration: taken.append(iteration) or take(iteration)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: weights.update({engine.state.iteration: model.weight.clone()})
    )
    ask(trainer, 17)  # within a group, so after iteration 18
    batches = [torch.full((1, 2), NAN if number == 4 else 1.0) for number in range(24)]
    trainer.run(batches)
    assert taken == [0, 9, 15]  # steps after 3, 9, 12, 15; that of 6 was left out
    assert recovery.returns == [Return(18, 9, "loss 9e9", 1.0)]  # 17 ran with the weights of 15
    assert torch.equal(weights[19], weights[9])


def test_a_loop_that_accumulates_by_itself_is_seen_by_its_steps():
    model = one_weight(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)

    def step(engine, batch):
        model(torch.ones(1, 1)).sum().backward()
        if engine.state.iteration % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    trainer = Engine(step)
    recovery = Recovery({"model": model, "optimizer": optimizer}, every=1)
    recovery.attach(trainer)
    weights = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: weights.append(model.weight.item()))
    ask(trainer, 8)  # the gradients of 7 and 8 go: a step has 9 alone
    trainer.run(range(12))
    assert recovery.returns == [Return(8, 3, "loss 9e9", 1.0)]  # 7 and 8 ran with the weights of 6
    assert weights == [1, 1, 0.25, 0.25, 0.25, -0.5, -0.5, -0.5, 0.0, 0.0, 0.0, -0.75]


def noisy_training(recover):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    rate = LearningRate(optimizer, Cosine(15))
    trainer = build_trainer(model, optimizer, square, accumulate=2)
    rate.attach(trainer)
    if recover:
        recovery = Recovery({"model": model, "optimizer": optimizer}, rate, every=2)
        recovery.attach(trainer)
    trainer.run([torch.randn(8, 4) for _ in range(10)], max_epochs=3)
    return [value for value in model.state_dict().values()] + tensors(optimizer) + [torch.get_rng_state()]


def test_a_run_that_never_goes_wrong_is_the_same_bit_for_bit():
    assert all(map(torch.equal, noisy_training(recover=True), noisy_training(recover=False)))


# -------------------------------------------------------------------------------------------------- a run that diverges


def noise(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 16, 4, generator=generator)
    return inputs, inputs[..., :1].sin() + inputs[..., 1:2] * inputs[..., 2:3]


def regression(*, factor, recover):
    """800 steps of a small network; from the 100th on the rate is ``factor`` times what it should be, for good."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    cosine = Cosine(800)
    rate = LearningRate(optimizer, lambda step: cosine(step) * (factor if step >= 100 else 1.0))
    trainer = build_trainer(
        model, optimizer, lambda model, batch, progress: {"square": nn.functional.mse_loss(model(batch[0]), batch[1])}
    )
    rate.attach(trainer)
    recovery = Recovery({"model": model, "optimizer": optimizer}, rate, every=20, cut=0.1)
    if recover:
        recovery.attach(trainer)

        @trainer.on(Events.ITERATION_COMPLETED)
        def look(engine):  # 1.7 is what an untrained one has
            if not engine.state.loss < 6.0:
                Consensus.of(engine).ask("rollback", f"loss {engine.state.loss:.3g}")

    trainer.run(list(zip(*noise(800, seed=0), strict=True)))
    inputs, targets = noise(100, seed=1)
    return nn.functional.mse_loss(model(inputs), targets).item(), recovery


def test_a_rate_a_hundred_times_too_high_is_taken_back_and_the_run_ends_near_the_clean_one():
    clean, _ = regression(factor=1.0, recover=False)
    lost, _ = regression(factor=100.0, recover=False)
    saved, recovery = regression(factor=100.0, recover=True)
    assert math.isnan(lost)
    assert [done[:2] for done in recovery.returns] == [(102, 100)]
    assert recovery.returns[0].factor == pytest.approx(0.01, rel=1e-2)
    assert (clean, saved) == (pytest.approx(0.0336, abs=5e-4), pytest.approx(0.0349, abs=5e-4))
    assert saved < 1.05 * clean


# ------------------------------------------------------------------------------------------------------------- a budget


def test_more_returns_than_allowed_are_an_error_that_says_where_from_and_to_and_why():
    trainer, _, recovery = counting(every=3, attempts=2)
    ask(trainer, 5, 9, 14)
    with pytest.raises(Diverged) as error:
        trainer.run(range(20))
    assert str(error.value) == "loss 9e9 (iteration 14), after 2 returns: from 5 to 3, from 9 to 3"
    assert len(recovery.returns) == 2


def test_returns_that_are_long_past_do_not_count_where_a_window_is_given():
    _, recovery = snapshots_of(10, attempts=2, window=100)
    for iteration in (20, 119, 121, 219):
        recovery.restore("odd", iteration)
    with pytest.raises(
        Diverged, match=r"odd \(iteration 220\), after 2 returns in 100 iterations: from 121 to 10, from 219 to 10"
    ):
        recovery.restore("odd", 220)
    assert recovery.restore("odd", 221).snapshot == 10


# ------------------------------------------------------------------------------- not finite, resume, failure half-way


def test_weights_and_moments_that_are_not_finite_are_never_kept(caplog):
    model = one_weight(5.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recovery = Recovery({"model": model, "optimizer": optimizer}, keep=1)
    assert recovery.snapshot(10)
    optimizer.state[model.weight]["momentum_buffer"] = torch.full((1, 1), INF)
    assert not recovery.snapshot(20)
    nn.init.constant_(model.weight, NAN)
    assert not recovery.snapshot(30)
    assert [record.message for record in caplog.records] == [
        "iteration 20: no snapshot, since it has values that are not finite in optimizer.state.0.momentum_buffer",
        "iteration 30: no snapshot, since it has values that are not finite in model.weight, "
        "optimizer.state.0.momentum_buffer",
    ]
    assert recovery.restore("loss nan", 31).snapshot == 10
    assert model.weight.item() == 5.0


def test_a_mask_that_is_infinite_by_design_is_no_fault():
    model = one_weight()
    model.register_buffer("mask", torch.tensor([0.0, -INF]))
    recovery = Recovery({"model": model})
    assert recovery.snapshot(1)
    model.mask.fill_(NAN)
    recovery.restore("odd", 3)
    assert model.mask.tolist() == [0.0, -INF]


def test_a_resumed_run_takes_its_own_first_snapshot_and_goes_on_counting():
    trainer, _, recovery = counting(every=3, attempts=2)
    ask(trainer, 5)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), lambda engine: recovery.suspect(8))
    trainer.run(range(8), max_epochs=1)
    state = json.loads(json.dumps(recovery.state_dict()))
    assert state == {"returns": [[5, 3, "loss 9e9", 1.0]], "suspected": 8,
                     "steps": 2, "stepped": True, "changed": 7, "used": None}  # fmt: skip

    trainer, model, recovery = counting(every=3, attempts=2)
    recovery.load_state_dict(state)
    assert recovery.state_dict() == state
    nn.init.constant_(model.weight, 8.0)
    trainer.load_state_dict({"iteration": 8, "epoch_length": 8, "max_epochs": 3})
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=9), lambda engine: recovery.suspect(None))
    ask(trainer, 10, 13)
    with pytest.raises(Diverged, match=r"\(iteration 13\), after 2 returns: from 5 to 3, from 10 to 8"):
        trainer.run(range(8), max_epochs=3)


def taken_back(wrong, state=None):
    """Where a run goes back to in iteration ``wrong``; if there is a ``state``, it goes on with that after 8."""
    trainer, model, recovery = counting(every=3)
    ask(trainer, wrong)
    if state is not None:
        recovery.load_state_dict(state)
        nn.init.constant_(model.weight, 8.0)
        trainer.load_state_dict({"iteration": 8, "epoch_length": 16, "max_epochs": 1})
    trainer.run(range(16 if state is None else 8), max_epochs=1)
    (done,) = recovery.returns
    return done.snapshot, model.weight.item()


def test_snapshots_that_are_saved_are_those_of_the_run_that_was_not_interrupted():
    trainer, _, first = counting(every=3)
    first.save_snapshots = True
    trainer.run(range(8), max_epochs=1)
    state = copy.deepcopy(first.state_dict())
    assert [iteration for iteration, *_ in state["snapshots"]] == [0, 3, 6]
    assert taken_back(10, state) == taken_back(10) == (6, 16.0)
    of_less = {**state, "snapshots": [[6, 7, None, {"model": {}}]]}  # and nothing of the optimizer
    del state["snapshots"]
    assert taken_back(10, state)[0] == taken_back(10, of_less)[0] == 8  # its own first one
    assert taken_back(13, state)[0] == taken_back(13)[0] == 9  # then they come at the same steps


def test_a_resumed_run_that_was_suspected_before_it_has_nothing_to_go_back_to():
    trainer, _, recovery = counting()
    recovery.load_state_dict({"returns": [], "suspected": 8})
    trainer.load_state_dict({"iteration": 8, "epoch_length": 8, "max_epochs": 3})
    ask(trainer, 10)
    with pytest.raises(Diverged, match=r"no snapshot that is from before iteration 8 to go back to \(only of 8\)"):
        trainer.run(range(8), max_epochs=3)


class Fragile:
    """Something whose state cannot be had, or given, when it is told so."""

    fails = ""

    def state_dict(self):
        if self.fails == "state_dict":
            raise OSError("no memory")
        return {"number": 1}

    def load_state_dict(self, state):
        if self.fails == "load_state_dict":
            raise ValueError("another number")


def test_a_failure_half_way_through_a_return_names_what_failed_and_what_is_done_already():
    model, fragile = one_weight(1.0), Fragile()
    recovery = Recovery({"model": model, "fragile": fragile})
    recovery.snapshot(10)
    fragile.fails = "load_state_dict"
    with pytest.raises(RuntimeError) as error:
        recovery.restore("odd", 15)
    assert str(error.value) == (
        "'fragile' cannot be given its state of iteration 10: another number (model had been given back already)"
    )
    assert recovery.returns == []
    fragile.fails = ""
    assert recovery.restore("odd", 15).snapshot == 10


def test_a_failure_half_way_through_a_snapshot_leaves_those_there_are():
    model, fragile = one_weight(1.0), Fragile()
    recovery = Recovery({"model": model, "fragile": fragile}, keep=1)
    recovery.snapshot(10)
    fragile.fails = "state_dict"
    nn.init.constant_(model.weight, 2.0)
    with pytest.raises(OSError, match="no memory"):
        recovery.snapshot(20)
    assert recovery.restore("odd", 25).snapshot == 10
    assert model.weight.item() == 1.0


def test_a_state_that_could_not_be_copied_is_refused():
    class Odd:
        def state_dict(self):
            return {"seen": {1, 2}}

    with pytest.raises(TypeError, match=r"odd\.seen is a set"):
        Recovery({"odd": Odd()}).snapshot(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"keep": 0}, "keep is 0"),
        ({"attempts": 0}, "attempts is 0"),
        ({"window": 0}, "window is 0"),
        ({"cut": 0.0}, "cut is 0.0; it lowers the rate"),
        ({"cut": 1.5}, "cut is 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recovery({"model": one_weight()}, **settings)


def test_objects_that_cannot_be_recovered_are_refused():
    with pytest.raises(ValueError, match="objects is empty; what is a rollback to give back"):
        Recovery({})
    with pytest.raises(ValueError, match="no object can be called score"):
        Recovery({"score": one_weight()})
    with pytest.raises(ValueError, match="objects has model and no optimizer; its steps have to be counted"):
        Recovery({"model": one_weight()}).attach(Engine(lambda engine, batch: None))


# ------------------------------------------------------------------------------------------------------- two processes


def test_two_processes_go_back_together_to_before_what_process_0_suspects(two_processes):
    """Process 1 asks; each suspects another place; and what is not finite on process 1 alone is kept by none."""
    answers = two_processes(
        textwrap.dedent("""
        import json, math, torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from ignite.engine import Engine, Events
        from ignition import distributed
        from ignition.events import Diverged
        from ignition.handlers import Consensus, LearningRate
        from ignition.handlers.recovery import Recovery

        with distributed.process_group("cpu", timeout_seconds=60):
            rank = distributed.rank()
            torch.manual_seed(0)
            net = nn.Linear(2, 1)
            net.register_buffer("own", torch.zeros(1))
            model = DistributedDataParallel(net, broadcast_buffers=False)
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
            rate = LearningRate(optimizer, lambda step: 1.0)
            recovery = Recovery({"model": model, "optimizer": optimizer}, rate, every=2, keep=9, attempts=2)

            def step(engine, batch):
                optimizer.zero_grad()
                model(torch.full((1, 2), float(rank + batch))).square().mean().backward()
                optimizer.step()

            trainer = Engine(step)
            rate.attach(trainer)
            recovery.attach(trainer)

            @trainer.on(Events.ITERATION_COMPLETED)
            def look(engine):
                iteration = engine.state.iteration
                if rank == 1:
                    net.own.fill_(math.nan if iteration == 4 else 0.0)
                if iteration == 9 and rank == 1:
                    recovery.suspect(3)
                    Consensus.of(engine).ask("rollback", "loss 9e9")
                if iteration == 9 and rank == 0:
                    recovery.suspect(6)
                if iteration in (14, 16) and rank == 1:
                    Consensus.of(engine).ask("rollback", "loss 8e8")

            try:
                trainer.run([float(number) for number in range(20)])
            except Diverged as error:
                diverged = str(error)
            weights = [float(value) for parameter in model.parameters() for value in parameter.flatten()]
            lr = optimizer.param_groups[0]["lr"]
            print(json.dumps([recovery.returns, weights, lr, diverged]))
        """)
    )
    first, second = map(json.loads, answers)
    assert first == second
    assert first[0] == [[9, 2, "loss 9e9 (process 1)", 0.5], [14, 11, "loss 8e8 (process 1)", 0.5]]
    assert first[2] == 0.025
    assert first[3] == "loss 8e8 (process 1) (iteration 16), after 2 returns: from 9 to 2, from 14 to 11"


def test_what_is_taken_along_is_in_the_snapshot_and_never_given_back():
    model = one_weight(1.0)
    place = Counted(5)
    recovery = Recovery({"model": model})
    recovery.take_along({"place": place})
    assert recovery.snapshot(10)
    nn.init.constant_(model.weight, 9.0)
    place.count = 7
    ((iteration, states),) = recovery.leading_to(11)
    assert (iteration, states["place"], states["model"]["weight"].item()) == (10, {"count": 5}, 1.0)
    recovery.restore("odd", 12)
    assert (model.weight.item(), place.count) == (1.0, 7)


def test_names_that_a_checkpoint_has_for_itself_cannot_be_taken_along():
    with pytest.raises(ValueError, match="no object can be called score"):
        Recovery({"model": one_weight()}).take_along({"score": Counted(1)})


def test_only_snapshots_with_no_return_in_between_lead_to_an_iteration():
    _, recovery = snapshots_of(10, 20, 30)
    assert [place for place, _ in recovery.leading_to(30)] == [10, 20]
    assert [place for place, _ in recovery.leading_to(31)] == [10, 20, 30]
    recovery.restore("odd", 35)  # from here on with the weights of 30
    assert [place for place, _ in recovery.leading_to(35)] == [10, 20, 30]
    assert recovery.leading_to(36) == []
    assert recovery.snapshot(40)
    assert [place for place, _ in recovery.leading_to(50)] == [40]
    assert [place for place, _ in recovery.leading_to(35)] == [20, 30]


class Counted:
    def __init__(self, count):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]

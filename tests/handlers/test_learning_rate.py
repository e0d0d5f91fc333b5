import io
import logging
import math

import ignite.handlers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR

from ignition.engine import build_trainer
from ignition.handlers import (
    Constant,
    Cosine,
    Exponential,
    InSequence,
    LearningRate,
    OneCycle,
    Plateau,
    Polynomial,
    Steps,
    WarmRestarts,
    Warmup,
    simulate,
)


def optimizer_with(*rates):
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def halving(step):
    return 0.5**step


def test_each_group_has_its_own_rate_times_the_schedule():
    optimizer = optimizer_with(0.1, 1.0)
    learning_rate = LearningRate(optimizer, halving)
    assert rates(optimizer) == [0.1, 1.0]  # the first step's, at once
    learning_rate.step()
    assert rates(optimizer) == [0.05, 0.5]


def test_the_first_step_is_taken_with_the_first_rate():
    optimizer = optimizer_with(1.0)
    LearningRate(optimizer, Warmup(10, start_factor=0.25))
    assert rates(optimizer) == [0.25]


def test_v20_a_one_cycle_stays_at_its_end():
    theirs, ours = optimizer_with(0.05), optimizer_with(0.05)
    wrapped = ignite.handlers.LRScheduler(OneCycleLR(theirs, max_lr=0.05, total_steps=10, cycle_momentum=False))
    engine = Engine(lambda engine, batch: theirs.step())
    engine.add_event_handler(Events.ITERATION_STARTED, wrapped)
    engine.run([0] * 10)
    last = rates(theirs)[0]
    with pytest.raises(ValueError, match=r"Tried to step 1[12] times"):
        engine.run([0] * 2)
    assert rates(theirs)[0] > 1000 * last  # one step past the end the rate has risen

    learning_rate = LearningRate(ours, OneCycle(10))
    for _ in range(1000):
        learning_rate.step()
    assert rates(ours)[0] == pytest.approx(0.05 / 25e4)


def test_v20_schedules_in_sequence_and_under_a_plateau_just_work():
    optimizer = optimizer_with(0.1)
    sequence = SequentialLR(optimizer, [StepLR(optimizer, 1), StepLR(optimizer, 1)], milestones=[2])
    for scheduler in (sequence, ReduceLROnPlateau(optimizer)):
        engine = Engine(lambda engine, batch: optimizer.step())
        engine.add_event_handler(Events.ITERATION_STARTED, ignite.handlers.LRScheduler(scheduler))
        with pytest.raises(NotImplementedError):
            engine.run([0] * 3)

    optimizer, seen = optimizer_with(0.1), []
    engine = Engine(lambda engine, batch: (seen.extend(rates(optimizer)), optimizer.step()))
    learning_rate = LearningRate(optimizer, InSequence((Steps(every=1), 2), (Steps(every=1, factor=0.5), math.inf)))
    learning_rate.attach(engine)
    evaluator = Engine(lambda evaluator, batch: evaluator.state.metrics.update(loss=1.0))
    Plateau(learning_rate, metric="loss", mode="min", patience=0).attach(evaluator)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    engine.run([0] * 2, max_epochs=3)  # from the third evaluation on the rate is a tenth
    assert seen == pytest.approx([0.1, 0.01, 0.1, 0.05, 0.0025, 0.00125])


def test_accumulated_batches_count_once_and_it_works_in_ignites_trainer_too():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(
        model, optimizer, lambda model, batch, progress: {"a": model(batch).square().mean()}, accumulate=2
    )
    learning_rate = LearningRate(optimizer, Constant())
    learning_rate.attach(trainer)
    trainer.run([torch.ones(1, 1)] * 5, max_epochs=2)
    assert learning_rate.steps == 6  # two groups of two and one of one in each epoch

    foreign = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    other = LearningRate(optimizer, halving)
    other.attach(foreign)
    foreign.run([(torch.ones(1, 1), torch.ones(1, 1))] * 3)
    assert other.steps == 3
    assert rates(optimizer) == [0.0125]


def test_a_rate_in_a_tensor_stays_the_same_tensor():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    tensor = optimizer.param_groups[0]["lr"]
    LearningRate(optimizer, halving).step()
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == 0.25


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_resumed_run_goes_on_with_the_saved_base_rates(optimizer_first):
    whole = optimizer_with(0.1, 1.0)
    learning_rate = LearningRate(whole, halving)
    learning_rate.step()
    learning_rate.lower(0.5)
    saved = io.BytesIO()
    torch.save([whole.state_dict(), learning_rate.state_dict()], saved)
    saved.seek(0)
    optimizer_state, state = torch.load(saved, weights_only=True)

    resumed = optimizer_with(0.1, 1.0)
    if optimizer_first:  # its rates are then no base rates
        resumed.load_state_dict(optimizer_state)
    other = LearningRate(resumed, halving)
    resumed.load_state_dict(optimizer_state)
    other.load_state_dict(state)
    assert rates(resumed) == rates(whole) == [0.025, 0.25]
    learning_rate.step()
    other.step()
    assert rates(resumed) == rates(whole) == [0.0125, 0.125]


def test_a_resume_with_other_groups_is_refused():
    state = LearningRate(optimizer_with(0.1, 1.0), Constant()).state_dict()
    with pytest.raises(ValueError, match="the saved state has 2 parameter groups, the optimizer has 1"):
        LearningRate(optimizer_with(0.1), Constant()).load_state_dict(state)


def test_a_step_that_fails_half_way_does_not_count():
    optimizer = optimizer_with(0.1)
    learning_rate = LearningRate(optimizer, Constant())

    def step(engine, batch):
        if batch == 3:
            raise OSError("disk")
        optimizer.step()

    engine = Engine(step)
    learning_rate.attach(engine)
    with pytest.raises(OSError, match="disk"):
        engine.run([1, 2, 3, 4])
    assert learning_rate.steps == 2


# ------------------------------------------------------------------------------------------------- group by group


def test_each_group_may_have_a_schedule_of_its_own():
    optimizer = optimizer_with(0.1, 1.0)
    learning_rate = LearningRate(optimizer, [halving, Warmup(2, start_factor=0.0)], min_lr=[0.0, 0.3])
    seen = []
    for _ in range(3):
        seen.append(rates(optimizer))
        learning_rate.step()
    assert seen == [[0.1, 0.0], [0.05, 0.5], [0.025, 1.0]]
    learning_rate.lower(0.1)
    assert rates(optimizer) == pytest.approx([0.00125, 0.3])


def test_groups_and_schedules_must_be_as_many():
    with pytest.raises(ValueError, match="schedule has 3 schedules; the optimizer has 2 parameter groups"):
        LearningRate(optimizer_with(0.1, 1.0), [Constant()] * 3)


def test_a_group_added_later_has_the_right_rate_from_its_first_step():
    optimizer = optimizer_with(0.8)
    learning_rate = LearningRate(optimizer, halving)
    learning_rate.step()
    late = InSequence((Constant(), learning_rate.steps), (Warmup(2, start_factor=0.0), math.inf))
    learning_rate.add_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.2})  # the schedule of the first
    learning_rate.add_group({"params": [nn.Parameter(torch.zeros(1))]}, late, min_lr=0.1)  # the optimizer's own lr
    seen = []
    for _ in range(3):
        seen.append(rates(optimizer))
        learning_rate.step()
    assert seen == [[0.4, 0.1, 0.0], [0.2, 0.05, 0.5], [0.1, 0.025, 1.0]]
    assert learning_rate.min_lr == [0.0, 0.0, 0.1]


def test_a_group_added_behind_its_back_is_an_error_that_says_what_to_do():
    optimizer = optimizer_with(0.1)
    learning_rate = LearningRate(optimizer, Constant())
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(ValueError, match=r"has 2 parameter groups, its LearningRate was made for 1: .*add_group"):
        learning_rate.step()


def test_a_resume_after_a_group_was_added():
    def make():
        optimizer = optimizer_with(0.8)
        return optimizer, LearningRate(optimizer, halving)

    group = {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.2}
    whole, learning_rate = make()
    learning_rate.step()
    learning_rate.add_group(dict(group))
    learning_rate.step()
    saved = whole.state_dict(), learning_rate.state_dict()

    resumed, other = make()
    with pytest.raises(ValueError, match="the saved state has 2 parameter groups, the optimizer has 1"):
        other.load_state_dict(saved[1])
    other.add_group(dict(group))
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    other.step()
    assert rates(resumed) == [0.1, 0.025]


def test_groups_that_share_a_tensor_for_their_rate_part():
    """torch gives every group without a rate the same tensor: written by one, it would be read by the others."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.AdamW(groups, lr=torch.tensor(0.5))
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[1]["lr"]
    learning_rate = LearningRate(optimizer, [halving, Constant()])
    learning_rate.step()
    learning_rate.add_group({"params": [nn.Parameter(torch.zeros(1))]})
    assert [rate.item() for rate in rates(optimizer)] == [0.25, 0.5, 0.25]
    tensors = rates(optimizer)
    learning_rate.step()
    assert all(one is other for one, other in zip(rates(optimizer), tensors, strict=True))


# ------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("cut", [0, 1, 5, 9, 10, 15])
@pytest.mark.parametrize(
    "schedule",
    [OneCycle(10), WarmRestarts(3, multiplier=2), InSequence((Warmup(4), 4), (Steps([2, 5]), 6))],
    ids=lambda schedule: type(schedule).__name__,
)
def test_interrupted_anywhere_it_goes_on_as_the_whole_run(schedule, cut):
    whole = [0.3 * schedule(step) for step in range(20)]
    first = LearningRate(optimizer_with(0.3), schedule)
    for _ in range(cut):
        first.step()
    second = LearningRate(optimizer_with(0.3), schedule)
    second.load_state_dict(first.state_dict())
    seen = []
    for _ in range(cut, 20):
        seen += rates(second.optimizer)
        second.step()
    assert seen == whole[cut:]


def test_a_run_made_longer_follows_the_longer_schedule_from_where_it_stands(caplog):
    short = LearningRate(optimizer_with(1.0), Cosine(10))
    for _ in range(10):
        short.step()
    assert short.rates == [0.0]
    longer = LearningRate(optimizer_with(1.0), Cosine(20))
    with caplog.at_level(logging.INFO):
        longer.load_state_dict(short.state_dict())
    assert longer.rates == pytest.approx([0.5])
    assert caplog.messages == [
        "the schedule is another than when this was saved: the rate of step 11 is [0.5] and was [0.0]"
    ]


def test_another_lr_of_the_optimizer_on_a_resume_is_told_and_not_taken(caplog):
    def make(lr):
        return LearningRate(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr), Constant())

    resumed = make(0.5)
    resumed.load_state_dict(make(0.1).state_dict())
    assert resumed.rates == [0.1]
    assert caplog.messages == [
        "the optimizer's lr is 0.5 and was 0.1 when this was saved; going on with the rates of then"
    ]


def test_a_state_of_version_0_1_0_is_read():
    learning_rate = LearningRate(optimizer_with(1.0), halving)
    learning_rate.load_state_dict({"steps": 2, "scale": 0.5, "base_rates": [0.8]})
    assert learning_rate.rates == [0.1]


# ------------------------------------------------------------------------------------------------- as foreseen

schedules = st.one_of(
    st.builds(OneCycle, st.integers(1, 30)),
    st.builds(Cosine, st.integers(6, 30), warmup_steps=st.integers(0, 5)),
    st.builds(WarmRestarts, st.integers(1, 9), multiplier=st.integers(1, 3)),
    st.builds(Polynomial, st.integers(1, 30), power=st.floats(0.1, 4)),
    st.builds(Exponential, st.integers(1, 30)),
    st.builds(Steps, st.lists(st.integers(0, 30), min_size=1)),
)


@settings(max_examples=50)
@given(schedule=schedules, accumulate=st.integers(1, 3), rate=st.floats(1e-6, 10), skipped=st.sets(st.integers(1, 10)))
def test_simulate_foresees_what_a_real_loop_gets(schedule, accumulate, rate, skipped):
    optimizer = optimizer_with(rate)
    steps = []

    def step(engine, batch):
        if engine.state.iteration % accumulate == 0:
            if engine.state.iteration in skipped:
                return  # nothing is stepped, so nothing is counted
            steps.extend(rates(optimizer))
            optimizer.step()

    engine = Engine(step)
    LearningRate(optimizer, schedule).attach(engine)
    engine.run([0] * 10, max_epochs=3)
    assert steps == simulate(schedule, len(steps), rate)


def test_rates_that_are_not_kept_are_those_of_the_optimizer():
    def made(lr, **more):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
        return LearningRate(optimizer, lambda step: 0.5**step, **more)

    saved = made(0.8)
    saved.step()
    kept, own = made(0.4), made(0.4, keep_rates=False)
    kept.load_state_dict(saved.state_dict())
    own.load_state_dict(saved.state_dict())
    assert (kept.rates, own.rates) == ([0.4], [0.2])

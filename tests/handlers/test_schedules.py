import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ignition.handlers import (
    Constant,
    Cosine,
    Exponential,
    InSequence,
    OneCycle,
    PerEpoch,
    Polynomial,
    Steps,
    WarmRestarts,
    Warmup,
    simulate,
)


def torch_rates(make, steps, lr=1.0):
    """The rates of a torch scheduler for ``steps`` optimizer steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


# Without those whose way up has no length: there torch divides by zero.
CYCLES = [(total, warmup) for total in (1, 2, 7, 10, 1000) for warmup in (0.0, 0.3, 0.5, 1.0) if warmup * total != 1]


@pytest.mark.parametrize(("total", "warmup"), CYCLES)
@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_one_cycle_equals_torch(total, anneal, warmup):
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.05, total_steps=total, pct_start=warmup, cycle_momentum=False,
            anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
        ),
        total,
    )  # fmt: skip
    ours = simulate(OneCycle(total, warmup_fraction=warmup, anneal=anneal), total, 0.05)
    assert ours == pytest.approx(theirs, rel=0, abs=1e-12)


def test_one_cycle_equals_torch_with_factors_of_its_own():
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=2.0, total_steps=50, div_factor=10.0, final_div_factor=20.0, cycle_momentum=False
        ),
        50,
    )
    assert simulate(OneCycle(50, start_factor=1 / 10, final_factor=1 / 200), 50, 2.0) == pytest.approx(
        theirs, abs=1e-12
    )


def test_one_cycle_begins_at_the_peak_where_the_way_up_has_no_length():
    assert simulate(OneCycle(10, warmup_fraction=0.1), 10, 1.0)[0] == 1.0


def test_cosine_equals_torch():
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.05), 31, lr=0.5
    )
    assert simulate(Cosine(30, floor_factor=0.1), 31, 0.5) == pytest.approx(theirs, abs=1e-12)


def test_warm_up_equals_torch():
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=5), 9
    )
    assert simulate(Warmup(5), 9, 1.0) == pytest.approx(theirs, abs=1e-12)


def test_cosine_after_a_warm_up_has_no_jump():
    assert simulate(Cosine(10, warmup_steps=2, warmup_start_factor=0.0), 11, 1.0) == pytest.approx(
        [0.0, 0.5, *((1 + math.cos(math.pi * step / 8)) / 2 for step in range(9))]
    )


@pytest.mark.parametrize(("period", "multiplier"), [(1, 1), (7, 1), (4, 2), (3, 3), (10, 10)])
def test_warm_restarts_equal_torch(period, multiplier):
    theirs = torch_rates(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, period, multiplier, eta_min=0.02),
        130, lr=0.2,
    )  # fmt: skip
    ours = WarmRestarts(period, multiplier=multiplier, floor_factor=0.1)
    assert simulate(ours, 130, 0.2) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 2.0])
def test_polynomial_equals_torch(power):
    theirs = torch_rates(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 30, power), 35, lr=0.2)
    assert simulate(Polynomial(30, power=power), 35, 0.2) == pytest.approx(theirs, abs=1e-12)


def test_exponential_equals_torch():
    theirs = torch_rates(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / 30)), 31, lr=0.2)
    assert simulate(Exponential(30, final_factor=0.01), 31, 0.2) == pytest.approx(theirs, abs=1e-12)


def test_steps_equal_torch():
    theirs = torch_rates(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [3, 3, 10], 0.5), 20)
    assert simulate(Steps([10, 3, 3], factor=0.5), 20, 1.0) == pytest.approx(theirs, abs=1e-12)
    theirs = torch_rates(lambda optimizer: lr_scheduler.StepLR(optimizer, 3, 0.5), 20)
    assert simulate(Steps(every=3, factor=0.5), 20, 1.0) == pytest.approx(theirs, abs=1e-12)


def test_a_sequence_equals_torch():
    def theirs(optimizer):
        parts = [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5),
            lr_scheduler.CosineAnnealingLR(optimizer, 10),
            lr_scheduler.StepLR(optimizer, 4),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=[5, 15])

    ours = InSequence((Warmup(5, 0.1), 5), (Cosine(10), 10), (Steps(every=4), math.inf))
    assert simulate(ours, 30, 0.3) == pytest.approx(torch_rates(theirs, 30, lr=0.3), abs=1e-12)


def test_torch_stepped_once_an_epoch_is_a_schedule_of_epochs():
    theirs = torch_rates(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 6), 6)
    held = [rate for rate in theirs for _ in range(4)]
    assert simulate(PerEpoch(Cosine(6), epoch_steps=4), 24, 1.0) == pytest.approx(held, abs=1e-12)


def test_a_cosine_with_a_warm_up_is_a_sequence():
    sequence = InSequence((Warmup(5), 5), (Cosine(15, floor_factor=0.1), math.inf))
    assert simulate(Cosine(20, warmup_steps=5, floor_factor=0.1), 25, 1.0) == simulate(sequence, 25, 1.0)


def test_no_restart_at_the_end_or_later():
    assert WarmRestarts(5, total_steps=10)(10) == WarmRestarts(5, total_steps=10)(1e9) == 0.0
    assert WarmRestarts(5)(10) == 1.0
    assert WarmRestarts(1, multiplier=2, total_steps=7)(7) == 0.0
    assert WarmRestarts(5, total_steps=7.5)(100) == pytest.approx(0.5)  # cut in the middle of a way down


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (Constant(), 1.0),
        (Warmup(10), 1.0),
        (OneCycle(10), 1 / 25e4),
        (Cosine(10, floor_factor=0.2), 0.2),
        (WarmRestarts(2, total_steps=10, floor_factor=0.2), 0.2),
        (Polynomial(10, floor_factor=0.2), 0.2),
        (Exponential(10, final_factor=0.2), 0.2),
        (Steps([5, 10], factor=0.5), 0.25),
        (InSequence((Warmup(5), 5), (Cosine(10), 5)), 0.5),
        (InSequence((lambda step: step, 10)), 10.0),
        (PerEpoch(Cosine(2, floor_factor=0.2), 5), 0.2),
    ],
)
def test_constant_after_the_end(schedule, last):
    assert [schedule(step) for step in (10, 11, 12, 1e9)] == pytest.approx([last] * 4, abs=1e-15)


@given(
    st.integers(1, 500), st.floats(0, 1), st.sampled_from(["cosine", "linear"]), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1000),
)  # fmt: skip
def test_a_one_cycle_never_leaves_its_range(total, warmup, anneal, start, final, step):
    factor = OneCycle(total, warmup_fraction=warmup, start_factor=start, final_factor=final, anneal=anneal)(step)
    assert min(start, final) - 1e-12 <= factor <= 1 + 1e-12


lengths = st.floats(0.01, 1e4)
shares = st.floats(0, 1)
ending = st.one_of(
    st.builds(Constant),
    st.builds(Warmup, lengths, shares),
    st.builds(OneCycle, st.floats(1, 1e4), warmup_fraction=shares, final_factor=shares),
    st.builds(Cosine, lengths, floor_factor=shares),
    st.builds(WarmRestarts, lengths, multiplier=st.integers(1, 4), floor_factor=shares, total_steps=lengths),
    st.builds(Polynomial, lengths, power=st.floats(0.01, 10), floor_factor=shares),
    st.builds(Exponential, lengths, final_factor=st.floats(1e-9, 1)),
    st.builds(Steps, st.lists(lengths, min_size=1), factor=st.floats(0.01, 0.99)),
)
endless = st.one_of(
    st.builds(Steps, every=lengths, factor=st.floats(0.01, 0.99)),
    st.builds(WarmRestarts, lengths, multiplier=st.integers(1, 4)),
)
parts = st.lists(st.tuples(ending, st.integers(0, 1000)), min_size=1, max_size=5)
sequences = parts.map(lambda parts: InSequence(*parts))
any_schedule = st.one_of(ending, endless, sequences, st.builds(PerEpoch, ending | sequences, st.integers(1, 100)))


@given(any_schedule, st.floats(0, 1e15))
def test_every_factor_is_finite_and_not_negative(schedule, step):
    assert 0 <= schedule(step) < math.inf


@given(ending | sequences, st.floats(1, 1e6))
def test_every_schedule_is_constant_past_its_end(schedule, further):
    assert schedule(1e6 + further) == schedule(1e6)  # all of them have ended by then


@given(parts)
def test_at_a_seam_begins_the_next_part_at_its_own_step_0(parts):
    sequence, begin = InSequence(*parts), 0
    for schedule, length in parts:
        if length:
            assert sequence(begin) == schedule(0)
            assert sequence(begin + length - 1) == schedule(length - 1)
            assert sequence(begin + length - 0.5) == schedule(length - 0.5)
        begin += length
    last, length = parts[-1]
    assert sequence(begin) == sequence(begin + 1) == last(length)


@given(any_schedule, st.integers(1, 50), st.integers(0, 10_000))
def test_within_an_epoch_nothing_moves(schedule, epoch_steps, step):
    held = PerEpoch(schedule, epoch_steps)
    assert held(step) == held(step - step % epoch_steps) == schedule(step // epoch_steps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneCycle(0), "total_steps is 0"),
        (lambda: OneCycle(9, warmup_fraction=1.5), "warmup_fraction is 1.5"),
        (lambda: OneCycle(9, anneal="cos"), "anneal is 'cos'; it can be 'cosine' or 'linear'"),
        (lambda: OneCycle(9, final_factor=math.nan), "final_factor is nan"),
        (lambda: Cosine(3, warmup_steps=3), "total_steps is 3; it must be more than the 3 warmup_steps"),
        (lambda: Cosine(3, floor_factor=-1), "floor_factor is -1"),
        (lambda: Warmup(-1), "steps is -1"),
        (lambda: Cosine(math.inf), "total_steps is inf"),
        (lambda: WarmRestarts(0), "period is 0; it must be a number above 0"),
        (lambda: WarmRestarts(5, multiplier=1.5), "multiplier is 1.5; it must be a whole number of at least 1"),
        (lambda: WarmRestarts(5, total_steps=math.nan), "total_steps is nan"),
        (lambda: Polynomial(0), "total_steps is 0"),
        (lambda: Polynomial(5, power=-1), "power is -1"),
        (lambda: Exponential(5, final_factor=0), "final_factor is 0; it must be a number above 0"),
        (lambda: Steps(), r"milestones are \[\] and every is None; give one of them"),
        (lambda: Steps([3], every=3), r"milestones are \[3\] and every is 3; give one of them"),
        (lambda: Steps([3, -1]), r"milestones\[1\] is -1"),
        (lambda: Steps(every=0), "every is 0"),
        (lambda: Steps([3], factor=1.0), "factor is 1.0; it lowers the rate"),
        (lambda: InSequence(), "there are no parts"),
        (lambda: InSequence((Constant(), math.inf), (Constant(), 1)), "the length of part 0 is inf"),
        (lambda: InSequence((Constant(), math.nan)), "the length of the last part is nan"),
        (lambda: PerEpoch(Constant(), 0), "epoch_steps is 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_warm_up_of_no_steps_is_none():
    assert Warmup(0)(0) == Cosine(5, warmup_steps=0)(0) == 1.0

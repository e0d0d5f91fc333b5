import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignition.handlers import Constant, Cosine, OneCycle, Warmup, simulate


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


@pytest.mark.parametrize(
    ("schedule", "last"),
    [(Constant(), 1.0), (Warmup(10), 1.0), (OneCycle(10), 1 / 25e4), (Cosine(10, floor_factor=0.2), 0.2)],
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
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_warm_up_of_no_steps_is_none():
    assert Warmup(0)(0) == Cosine(5, warmup_steps=0)(0) == 1.0

"""The config's schedules over a run of optimizer steps, and the run drawn."""

import math

import pytest
import torch
from torch import nn

from ignition.config import load_config
from ignition.handlers import Cosine, LearningRate, OneCycle, Warmup, simulate
from ignition.scheduling import picture, schedule_of


def rates(schedule, *, epochs=6, epoch_steps=10):
    """The factors of a run, step by step, of a ``schedule`` written as in YAML."""
    config = load_config(None, overrides=[f"trainer.epochs={epochs}", f"schedule={schedule}"])
    return simulate(schedule_of(config, epoch_steps), epochs * epoch_steps, 1.0)


@pytest.mark.parametrize(
    ("overrides", "first", "last"),
    [
        ([], 1.0, 1.0),
        (["schedule.warmup_epochs=2"], 0.01, 1.0),
        (["schedule.name=one_cycle"], 1 / 25, 4e-6),
        (["schedule={name: cosine, warmup_epochs: 1, warmup_start_factor: 0.1, floor_factor: 0.2}"], 0.1, 0.2),
        (["schedule={name: warm_restarts, period_epochs: 1, multiplier: 2, floor_factor: 0.2}"], 1.0, 0.6),
        (["schedule={name: warm_restarts, period_epochs: 2.5, warmup_start_factor: 0.1}"], 1.0, 0.0),
        (["schedule={name: polynomial, power: 0.9, warmup_epochs: 1.5, warmup_start_factor: 0.5}"], 0.5, 0.0),
        (["schedule={name: exponential, final_factor: 0.05}"], 1.0, 0.05),
        (["schedule={name: step, milestones: [2, 4], factor: 0.5, warmup_epochs: 1}"], 0.01, 0.25),
        (["schedule={name: step, every_epochs: 2}"], 1.0, 0.01),
        (["schedule={name: plateau, warmup_epochs: 2, warmup_start_factor: 0.2}"], 0.2, 1.0),
        (["schedule={name: sequence, parts: [{epochs: 2}, {schedule: {name: cosine, floor_factor: 0.3}}]}"], 1.0, 0.3),
    ],
)
def test_a_schedule_spans_the_whole_run_in_optimizer_steps(overrides, first, last):
    settings = load_config(None, overrides=["trainer.epochs=5", "optimizer.lr=0.5", *overrides])
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    rate = LearningRate(optimizer, schedule_of(settings, epoch_steps=8))
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(5 * 8):
        rate.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen[0] == pytest.approx(0.5 * first, rel=1e-6)
    assert seen[-1] == pytest.approx(0.5 * last, rel=1e-6)
    assert max(seen) == pytest.approx(0.5)


def test_a_cosine_is_what_it_was_before_other_kinds_could_be_warmed_up():
    expected = simulate(Cosine(60, warmup_steps=15, warmup_start_factor=0.1, floor_factor=0.2), 60, 1.0)
    assert rates("{name: cosine, warmup_epochs: 1.5, warmup_start_factor: 0.1, floor_factor: 0.2}") == expected


@pytest.mark.parametrize("epochs", [0.04, 0.96, 1.1, 5.99])
@pytest.mark.parametrize("epoch_steps", [1, 3, 10])
def test_any_warm_up_that_the_config_takes_can_be_walked(epochs, epoch_steps):
    """Rounded to steps it may take the whole run, or a milestone may come to lie within it."""
    for main in ("cosine", "polynomial", "exponential", "cosine, per: epoch", "step, milestones: [5.995]"):
        seen = rates(f"{{name: {main}, warmup_epochs: {epochs}}}", epoch_steps=epoch_steps)
        assert all(0 <= rate <= 1 for rate in seen)


def test_milestones_count_from_the_start_of_the_run():
    with_warmup = rates("{name: step, milestones: [2, 4.5], factor: 0.5, warmup_epochs: 1}")
    without = rates("{name: step, milestones: [4.5, 2], factor: 0.5}")
    assert with_warmup[10:] == without[10:]
    assert [without.index(factor) for factor in (0.5, 0.25)] == [20, 45]
    every = rates("{name: step, every_epochs: 1.1, factor: 0.5, warmup_epochs: 1}")
    assert [every.index(0.5**n) for n in range(1, 6)] == [11, 22, 33, 44, 55]  # and not a step later: 1.1 is not exact


def test_restarts_come_after_whole_periods():
    seen = rates("{name: warm_restarts, period_epochs: 1.1, multiplier: 2}")
    assert [step for step, rate in enumerate(seen) if rate == 1.0] == [0, 11, 33]


def test_per_epoch_the_rate_is_held_for_an_epoch_at_a_time():
    seen = rates("{name: polynomial, per: epoch, warmup_epochs: 1, warmup_start_factor: 0}")
    assert seen[:10] == pytest.approx([0.1 * step for step in range(10)])  # the warm-up moves with every step
    assert seen[10:] == pytest.approx([factor for factor in (1.0, 0.8, 0.6, 0.4, 0.2) for _ in range(10)])


def test_a_sequence_is_its_parts_each_over_its_own_length():
    seen = rates(
        "{name: sequence, parts: [{epochs: 1, schedule: {warmup_epochs: 1}}, "
        "{epochs: 2, schedule: {name: sequence, parts: [{epochs: 0.5}, {schedule: {name: cosine}}]}}, "
        "{schedule: {name: one_cycle}}]}"
    )
    assert seen[:10] == simulate(Warmup(10), 10, 1.0)
    assert seen[10:15] == [1.0] * 5
    assert seen[15:30] == simulate(Cosine(15), 15, 1.0)
    assert seen[30:] == simulate(OneCycle(30), 30, 1.0)


def test_a_sequence_shorter_than_the_run_stays_where_it_ended():
    seen = rates("{name: sequence, parts: [{epochs: 2, schedule: {name: polynomial, floor_factor: 0.1}}]}")
    assert seen[20:] == [pytest.approx(0.1)] * 40


def test_the_ends_of_parts_do_not_drift():
    part = "{epochs: 0.33, schedule: {name: polynomial}}"
    seen = rates(f"{{name: sequence, parts: [{', '.join([part] * 9)}]}}", epochs=3)
    assert [step for step, rate in enumerate(seen) if rate == 1.0] == [0, 3, 7, 10, 13, 16, 20, 23, 26]


def test_a_run_made_longer_keeps_what_is_counted_from_its_start_and_stretches_what_leads_to_its_end():
    for main in ("warm_restarts, period_epochs: 2", "step, milestones: [2, 3]", "constant"):
        schedule = f"{{name: {main}, warmup_epochs: 1}}"
        assert rates(schedule, epochs=12)[:60] == rates(schedule, epochs=6)
    shorter, longer = rates("{name: polynomial}"), rates("{name: polynomial}", epochs=12)
    assert longer[::2] == pytest.approx(shorter)


# ------------------------------------------------------------------------------------------------- pictures


def learning_rate(schedule, *base_rates):
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in base_rates]
    return LearningRate(torch.optim.SGD(groups, lr=1.0), schedule)


def test_the_picture_of_a_run():
    rate = learning_rate(Warmup(10, start_factor=0.0), 0.002)
    lines = picture(rate, epochs=4, epoch_steps=5, plain=True)
    assert lines[0] == "learning rate: highest 0.002 at epoch 2, last 0.002"
    assert len(lines) == 1 + 9 + 2
    assert max(map(len, lines)) <= 72
    assert lines[1].startswith("0.002 |  ")
    assert lines[1].endswith("'''''")
    assert lines[5].startswith("0.001 |")
    assert lines[9].startswith("    0 |..")
    assert lines[11].split() == ["0", "1", "2", "3", "4", "epochs"]


def test_groups_with_the_same_rates_are_told_together_and_each_schedule_is_drawn_once():
    rate = learning_rate(Cosine(20), 0.1, 0.1, 0.02)
    lines = picture(rate, epochs=2, epoch_steps=10)
    last = 0.05 * (1 + math.cos(math.pi * 19 / 20))
    assert lines[:2] == [
        f"learning rate of parameter groups 1, 2: highest 0.1 at epoch 0, last {last:.3g}",
        f"learning rate of parameter group 3: highest 0.02 at epoch 0, last {0.2 * last:.3g}",
    ]
    assert len(lines) == 2 + 9 + 2
    assert lines[2].startswith(" 0.1 ┤⠉")  # the curve of the higher ones


def test_other_schedules_have_pictures_of_their_own():
    lines = picture(learning_rate([Cosine(20), Warmup(20)], 0.1, 0.1), epochs=2, epoch_steps=10)
    assert [line for line in lines if "learning rate" in line] == [
        "learning rate of parameter group 1: highest 0.1 at epoch 0, last 0.000616",
        "learning rate of parameter group 2: highest 0.0951 at epoch 1.9, last 0.0951",
    ]
    assert len(lines) == 2 * (1 + 9 + 2)


def test_a_long_run_is_drawn_from_some_of_its_steps():
    calls = []
    rate = learning_rate(lambda step: calls.append(step) or 1.0, 0.1)
    calls.clear()
    assert len(picture(rate, epochs=1000, epoch_steps=10_000)) == 12
    assert len(calls) <= 200_001

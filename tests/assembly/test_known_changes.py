"""From schedules of the config to the iterations at which they change something on purpose."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition import assembly
from ignition.assembly import known_changes
from ignition.assembly.known_changes import known_changes_of
from ignition.config import load_config
from ignition.scheduling import schedule_of


def changes(*overrides, epochs=6, epoch_length=10):
    config = load_config(None, overrides=[f"trainer.epochs={epochs}", *overrides])
    return known_changes_of(config, epoch_length)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("{name: constant}", []),
        ("{name: constant, warmup_epochs: 2}", []),
        ("{name: constant, warmup_epochs: 0.1}", []),  # of one step, from a hundredth to all
        ("{name: one_cycle}", []),
        ("{name: one_cycle, warmup_fraction: 0.0}", []),
        ("{name: cosine, warmup_epochs: 1}", []),
        ("{name: polynomial, per: epoch}", []),
        ("{name: exponential}", []),
        ("{name: step, milestones: [2, 4]}", []),
        ("{name: plateau, warmup_epochs: 1}", []),
        ("{name: warm_restarts, period_epochs: 2}", [22, 42]),  # the 21st step is the first, the 22nd loss tells
        ("{name: warm_restarts, period_epochs: 1, multiplier: 2}", [12, 32]),
        ("{name: warm_restarts, period_epochs: 2, warmup_epochs: 1}", [32, 52]),
        ("{name: warm_restarts, period_epochs: 2, per: epoch}", [22, 42]),
        ("{name: warm_restarts, period_epochs: 2.5, per: epoch}", [32, 52]),  # 1, 0.65, 0.1, then 0.9, 0.35, 1
        ("{name: warm_restarts, period_epochs: 2, floor_factor: 0.8}", []),  # a quarter more is no jump
        ("{name: sequence, parts: [{epochs: 2, schedule: {name: cosine}}, {schedule: {name: cosine}}]}", [22]),
        ("{name: sequence, parts: [{epochs: 2}, {schedule: {name: constant}}]}", []),
        ("{name: sequence, parts: [{epochs: 2, schedule: {name: step, milestones: [1]}}, {}]}", [22]),
        # comes up again step by step, which is a warm-up
        ("{name: sequence, parts: [{epochs: 2}, {schedule: {warmup_epochs: 1, warmup_start_factor: 0.1}}]}", []),
        ("{name: sequence, parts: [{epochs: 1}, {schedule: {name: sequence, parts: [{epochs: 2, schedule: "
         "{name: warm_restarts, period_epochs: 1}}, {schedule: {name: polynomial}}]}}]}", [22, 32]),
    ],
)  # fmt: skip
def test_where_the_rate_jumps_up(schedule, rates):
    assert changes(f"schedule={schedule}").rates == rates


def test_with_accumulation_it_is_the_first_batch_after_the_first_such_step():
    """Epochs of 10 batches, 4 a step: 3 steps an epoch, the last of 2. The 7th step is that of batches 21 to 24."""
    restarts = "schedule={name: warm_restarts, period_epochs: 2}"
    assert changes(restarts, "trainer.accumulate=4").rates == [25, 45]
    assert changes(restarts, "trainer.accumulate=4", epochs=4).rates == [25]


@pytest.mark.parametrize(
    ("loss", "weights", "ramps"),
    [
        ("{a: 1.0}", [], []),
        ("{a: 1.0, b: {from: 0, to: 1, epochs: 2}}", [], [(2, 21)]),  # at 0 epochs done it is still 0, at 2 it is 1
        ("{a: {from: 0, to: 1, epochs: 2, start: 1, shape: cosine}}", [], [(12, 31)]),
        ("{a: {from: 0, to: 1, epochs: 50, start: 5}}", [], [(52, 60)]),  # the run ends on the way
        ("{a: {from: 0, to: 1, epochs: 50, start: 6}}", [], []),
        ("{a: {from: 1, to: 1, epochs: 2}}", [], []),
        ("{a: {from: 0, to: 1, epochs: 0.01}}", [], [(2, 2)]),
        # the second cycle begins anew after 2 epochs, and its rise ends with the third
        ("{a: {from: 0, to: 1, cycles: 2, epochs: 2}}", [21], [(2, 11), (22, 31)]),
        ("{a: {from: 0, to: 1, cycles: 9, epochs: 4, rise: 1.0}}", [41], [(2, 41), (42, 60)]),
        ("{a: {at: {0: 1.0, 3: 0.0}}}", [31], []),
        ("{a: {at: {0: 1.0, 1: 1.0, 2.55: 0.5, 99: 3.0}}, b: {at: {0: 0, 3: 1}}}", [27, 31], []),
        ("{a: {at: {0: 1.0, 3: 0.0}}, b: {from: 1, to: 0, epochs: 1}}", [31], [(2, 11)]),
    ],
)  # fmt: skip
def test_where_the_weights_of_terms_change(loss, weights, ramps):
    known = changes(f"loss={loss}")
    assert (known.weights, known.ramps, known.rates) == (weights, ramps, [])


PARTS = st.one_of(
    st.sampled_from(
        [
            "constant",
            "cosine",
            "cosine, per: epoch",
            "polynomial",
            "exponential",
            "step, every_epochs: 0.25, factor: 0.5",
        ]
    ),
    st.builds(
        "warm_restarts, period_epochs: {}, multiplier: {}, per: {}".format,
        st.sampled_from([0.2, 0.25, 0.31]),
        st.integers(1, 3),
        st.sampled_from(["step", "epoch"]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.tuples(st.sampled_from([0.35, 0.5, 1.0, 1.7]), PARTS), min_size=1, max_size=4),
    epoch_length=st.integers(1, 17),
    accumulate=st.integers(1, 3),
)
def test_every_jump_of_any_sequence_is_found_and_nothing_else(parts, epoch_length, accumulate):
    listed = ", ".join(f"{{epochs: {epochs}, schedule: {{name: {main}}}}}" for epochs, main in parts)
    config = load_config(
        None,
        overrides=[
            f"schedule={{name: sequence, parts: [{listed}]}}", "trainer.epochs=7", f"trainer.accumulate={accumulate}"
        ],
    )  # fmt: skip
    epoch_steps = -(-epoch_length // accumulate)
    schedule = schedule_of(config, epoch_steps)
    ends = []  # of the steps of a run, their last iterations
    for epoch in range(7):
        ends += [epoch * epoch_length + min((k + 1) * accumulate, epoch_length) for k in range(epoch_steps)]
    rises = [step for step in range(1, len(ends)) if schedule(step) > 4 / 3 * schedule(step - 1)]
    expected = [ends[step] + 1 for step in rises if ends[step] < 7 * epoch_length]
    assert known_changes_of(config, epoch_length).rates == expected


@settings(max_examples=100, deadline=None)
@given(
    start=st.floats(0, 5), epochs=st.floats(0.01, 5), switches=st.lists(st.floats(0.01, 5), max_size=4, unique=True),
    epoch_length=st.integers(1, 50),
)  # fmt: skip
def test_weights_move_within_their_ramps_and_jump_where_it_says(start, epochs, switches, epoch_length):
    at = {"0": 0.0, **{repr(epoch): float(n) for n, epoch in enumerate(sorted(switches), start=1)}}
    config = load_config(
        None,
        overrides=[
            "trainer.epochs=6",
            f"loss={{a: {{from: 0, to: 1, epochs: {epochs}, start: {start}}}, b: {{at: {at}}}}}",
        ],
    )
    known, weights = known_changes_of(config, epoch_length), assembly.loss_weights(config)
    seen = [weights.at((iteration - 1) / epoch_length) for iteration in range(1, 6 * epoch_length + 1)]
    for iteration, (before, now) in enumerate(pairwise(seen), start=2):
        assert (now["b"] != before["b"]) == (iteration in known.weights)
        assert now["a"] == pytest.approx(before["a"]) or known.ramping(iteration)


def test_a_long_run_is_not_walked_through(monkeypatch):
    """Ten million steps with 999 restarts: a look at both sides of each."""
    calls = []

    def counted(config, epoch_steps):
        schedule = schedule_of(config, epoch_steps)
        inner = type(schedule).__call__
        monkeypatch.setattr(type(schedule), "__call__", lambda self, step: calls.append(step) or inner(self, step))
        return schedule

    monkeypatch.setattr(known_changes, "schedule_of", counted)
    known = changes("schedule={name: warm_restarts, period_epochs: 1}", epochs=1000, epoch_length=10_000)
    assert len(known.rates) == 999
    assert len(calls) == 2 * 999

"""A detector that goes on from its state finds what one that never stopped finds."""

import io
import json
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.stability import (
    NAMES,
    AbsoluteLimits,
    Collapse,
    DataWait,
    DeadTerm,
    DeadUnits,
    GradientExplosion,
    GradientVanishing,
    LearningRateTooHigh,
    LearningRateTooLow,
    LossConflict,
    LossImbalance,
    LossSpike,
    NonFinite,
    Overfitting,
    Plateau,
    SlowConvergence,
    SlowDivergence,
    UnstableValidation,
    UntouchedParameters,
    UpdateRatio,
)

ONE = {"a": 1.0, "b": 1.0}
# Of each detector: how it is made, and how it is handed the number of an iteration. Windows are short, and so are runs.
FED = {
    "loss_spike": (lambda: LossSpike(window=8), lambda d, i, x: d.update(i, x)),
    "slow_divergence": (lambda: SlowDivergence(h=4.0, window=8), lambda d, i, x: d.update(i, x)),
    "gradient_explosion": (lambda: GradientExplosion(4.0, window=8), lambda d, i, x: d.update(i, abs(x))),
    "gradient_vanishing": (lambda: GradientVanishing(0.2, window=8), lambda d, i, x: d.update(i, abs(x), x)),
    "non_finite": (NonFinite, lambda d, i, x: d.update(i, {"loss": x})),
    "update_ratio": (lambda: UpdateRatio(2.0), lambda d, i, x: d.update(i, {"a": x, "b": 1.0, "c": 1e-3 * x})),
    "too_high": (lambda: LearningRateTooHigh(most=5.0), lambda d, i, x: d.update(i, x, x)),
    "too_low": (lambda: LearningRateTooLow(values=64), lambda d, i, x: d.update(i, x, 1e-6)),
    "data_wait": (lambda: DataWait(window=4), lambda d, i, x: d.update(i, abs(x), 2.0)),
    # of evaluations and loss terms
    "overfitting": (lambda: Overfitting(target_mode="max"), lambda d, i, x: d.update(i, 9.0 - 1e-3 * i, x, -x)),
    "unstable_validation": (UnstableValidation, lambda d, i, x: d.update(i, x)),
    "plateau": (lambda: Plateau(3), lambda d, i, x: d.update(i, x, training=2 * x)),
    "slow_convergence": (lambda: SlowConvergence(5), lambda d, i, x: d.update(i, 5.0 - 1e-3 * i + 1e-2 * x)),
    "dead_term": (lambda: DeadTerm(evaluations=2), lambda d, i, x: d.update(i, {"a": x, "b": 0.5}, ONE)),
    "collapse": (Collapse, lambda d, i, x: d.update(i, {"std_ratio": x - 0.9, "active_units": x - 1.0})),
    "loss_imbalance": (lambda: LossImbalance(0.3, 0.7), lambda d, i, x: d.update(i, {"a": x, "b": 1.0})),
    "loss_conflict": (LossConflict, lambda d, i, x: d.update(i, {("a", "b"): x - 1.5, ("b", "c"): 1 - x})),
    "dead_units": (DeadUnits, lambda d, i, x: d.update(i, {"a": (int(min(x, 9)) if x == x else 0, 4)})),
    "untouched": (lambda: UntouchedParameters(5), lambda d, i, x: d.update(i, {"a": i if x > 5 else 0}, i)),
    "absolute": (AbsoluteLimits, lambda d, i, x: d.update(i, 0.9, x)),
}
VALUES = [1.0, 1.1, 0.9, 1.2, 2.0, 9.0, 0.0, 0.7, math.nan, math.inf]
STEPS = st.tuples(st.sampled_from([1, 1, 1, 1, 0, 5, 60]), st.sampled_from(VALUES))


@pytest.mark.parametrize("name", FED)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(STEPS, min_size=15, max_size=150), cut=st.integers(0, 150))
def test_goes_on_from_its_state(name, rows, cut):
    make, feed = FED[name]
    iteration, numbered = 0, []
    for spacing, value in rows:  # missing, repeated, and sparse rows
        iteration += spacing
        numbered.append((iteration, value))
    whole, first, second = make(), make(), make()
    expected = [repr(feed(whole, *row)) for row in numbered]
    found = [repr(feed(first, *row)) for row in numbered[:cut]]
    second.load_state_dict(through_a_file(first.state_dict()))
    assert second.active == first.active
    assert second.state_dict() == first.state_dict()
    assert found + [repr(feed(second, *row)) for row in numbered[cut:]] == expected


def through_a_file(state):
    """The state as a checkpoint and a line of text bring it back; a text has no NaN and no infinity."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return json.loads(json.dumps(torch.load(file, weights_only=True), allow_nan=False))


@pytest.mark.parametrize("name", FED)
def test_a_state_that_was_taken_does_not_change_any_more(name):
    make, feed = FED[name]
    detector = make()
    for i in range(30):
        feed(detector, i, 1.0 + i % 3)
    state = detector.state_dict()
    before = pickle.dumps(state)
    for i in range(30, 60):
        feed(detector, i, 5.0 + i % 3)
    assert pickle.dumps(state) == before


@pytest.mark.parametrize("name", FED)
def test_begun_anew_it_is_like_a_new_one(name):
    make, feed = FED[name]
    used = make()
    for i in range(50):
        feed(used, i, 1.0 + i % 3)
    used.reset()
    assert not used.active
    fresh = make()
    values = [1.0, 1.1, 0.9] * 20 + [30.0] * 20
    assert [repr(feed(used, 50 + i, x)) for i, x in enumerate(values)] == [
        repr(feed(fresh, 50 + i, x)) for i, x in enumerate(values)
    ]


@pytest.mark.parametrize("name", FED)
def test_findings_are_rows_of_a_file(name):
    make, feed = FED[name]
    detector, found = make(), []
    for i in range(40):
        new = feed(detector, i, [1.0, 0.7, 1.1, 1.0, 2.0][i % 5])
        found += new if isinstance(new, list) else [new] if new else []
    for finding in found:
        assert finding.name in NAMES
        assert json.loads(json.dumps(finding.row(), allow_nan=False))["name"] == finding.name
        assert 0 < finding.confidence <= 1
        assert finding.advice or name == "absolute"

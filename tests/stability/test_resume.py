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
    Divergence,
    Doctor,
    ExplodingTerm,
    GradientExplosion,
    GradientVanishing,
    KnownChanges,
    LearningRateTooHigh,
    LearningRateTooLow,
    LossConflict,
    LossImbalance,
    LossSpike,
    NonFinite,
    NonFiniteEvaluation,
    Overfitting,
    Plateau,
    SlowConvergence,
    SlowDivergence,
    UnstableValidation,
    UntouchedParameters,
    UpdateRatio,
)

ONE = {"a": 1.0, "b": 1.0}


class Rising:
    """A divergence with the rise that it confirms."""

    def __init__(self):
        self.rise, self.divergence = SlowDivergence(h=4.0, window=8), Divergence()

    @property
    def active(self):
        return self.divergence.active

    def update(self, iteration, loss):
        self.rise.update(iteration, loss)
        return self.divergence.update(iteration, loss, self.rise)

    def reset(self):
        self.rise.reset()
        self.divergence.reset()

    def state_dict(self):
        return {"rise": self.rise.state_dict(), "divergence": self.divergence.state_dict()}

    def load_state_dict(self, state):
        self.rise.load_state_dict(state["rise"])
        self.divergence.load_state_dict(state["divergence"])


# Of each detector: how it is made, and how it is handed the number of an iteration. Windows are short, and so are runs.
FED = {
    "loss_spike": (lambda: LossSpike(window=8), lambda d, i, x: d.update(i, x)),
    "slow_divergence": (lambda: SlowDivergence(h=4.0, window=8), lambda d, i, x: d.update(i, x)),
    "divergence": (Rising, lambda d, i, x: d.update(i, x)),
    "exploding_term": (lambda: ExplodingTerm(1.5), lambda d, i, x: d.update(i, x, {"a": x, "b": 1.0})),
    "gradient_explosion": (lambda: GradientExplosion(4.0, window=8), lambda d, i, x: d.update(i, abs(x))),
    "gradient_vanishing": (lambda: GradientVanishing(0.2, window=8), lambda d, i, x: d.update(i, abs(x), x)),
    "non_finite": (NonFinite, lambda d, i, x: d.update(i, {"loss": x})),
    "non_finite_evaluation": (NonFiniteEvaluation, lambda d, i, x: d.update(i, {"val/loss": x})),
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


# ------------------------------------------------------------------------------------ the doctor, and all kinds of rows

NUMBERS = st.sampled_from([0.0, 0.003, 0.5, 1.0, 1.1, 9.0, "NaN", "Infinity"])
WEIGHTS = {"a": 1.0, "b": 2.0}
KINDS = {
    "step": lambda x, y: {
        "train/batch_loss": x, "train/loss/a": x, "train/gradient_norm": y, "train/update_ratio": y,
        "train/learning_rate": 0.1,
    },
    "speed": lambda x, y: {"train/data_wait_share": 0.5 if x == 9.0 else 0.0, "train/step_ms_p50": 10.0},
    "epoch": lambda x, y: {"train/epoch_avg_loss": x, "learning_rate": 0.1},
    "evaluation": lambda x, y: {
        "val/loss": x, "val/loss/a": y, "val/loss/b": 0.1, "val/b": y, "val/signal/std_ratio": x,
        "val/signal/kl_per_dim": y,
    },
    "baseline": lambda x, y: {"baseline/loss/a": 1.0, "baseline/loss/b": 1.0, "baseline/b": x},
    "layers": lambda x, y: {
        "layers": {"a": {"weight": 1.0, "update": x}, "b": {"weight": y}, "c": {"weight": 1.0, "update": y}},
        "untouched": ["c"] if y == 0.0 else [],
    },
    "units": lambda x, y: {"units": {"a": [9 if x == 9.0 else 0, 10], "b": [0, 0]}},
    "terms": lambda x, y: {
        "terms": {"norms": {"a": x, "b": y, "c": 1.0}, "cosines": {"a|b": -1.0 if x == 1.0 else y}, "weights": WEIGHTS}
    },
}  # fmt: skip
CHANGES = KnownChanges(rates=[40, 300], weights=[90], ramps=[(120, 150), (400, 900)])
ROWS = st.lists(
    st.tuples(st.sampled_from(list(KINDS)), st.sampled_from([1, 1, 1, 0, 7, 60]), NUMBERS, NUMBERS), max_size=120
)


def rows_of(drawn):
    """Each kind has iterations of its own, so that one comes late beside another; some repeat, some are missing."""
    now = dict.fromkeys(KINDS, 0)
    for kind, spacing, x, y in drawn:
        now[kind] += spacing
        yield {"iteration": now[kind], "epoch": 1, **KINDS[kind](x, y)}


def doctor(rules="relative"):
    return Doctor(changes=CHANGES, rules=rules, weights=lambda iteration: WEIGHTS)


@pytest.mark.parametrize("rules", ["relative", "absolute"])
@settings(max_examples=150, deadline=None)
@given(drawn=ROWS, repeated=st.integers(1, 60), cut=st.integers(0, 200))
def test_the_doctor_of_a_resumed_run_finds_the_very_same(rules, drawn, repeated, cut):
    rows = [row for row in rows_of(drawn) for _ in range(2 if row["iteration"] % repeated == 0 else 1)]
    whole, first, second = doctor(rules), doctor(rules), doctor(rules)
    expected = [repr(whole.read(row)) for row in rows]
    found = [repr(first.read(row)) for row in rows[:cut]]
    second.load_state_dict(through_a_file(first.state_dict()))
    assert second.state_dict() == first.state_dict()
    assert found + [repr(second.read(row)) for row in rows[cut:]] == expected


@settings(max_examples=150, deadline=None)
@given(drawn=ROWS, order=st.permutations(["layers", "units", "terms"]))
def test_what_is_measured_may_come_late_and_in_batches(drawn, order):
    """Steps are written every so many iterations, and measurements when they are made."""
    rows = list(rows_of(drawn))
    late = [row for row in rows if not any(kind in row for kind in order)]
    late += [row for kind in order for row in rows if kind in row]
    found = [
        sorted(repr(finding) for row in ordered for finding in one.read(row))
        for one, ordered in ((doctor(), rows), (doctor(), late))
    ]
    assert found[0] == found[1]


@settings(max_examples=150, deadline=None)
@given(drawn=ROWS, begins_anew=st.integers(0, 120))
def test_whatever_begins_is_told_and_whatever_has_ended_too(drawn, begins_anew):
    """The doctor asks its detectors how they are only where something was found, so nothing may begin in silence."""
    patient, on = doctor(), set()
    for number, row in enumerate(rows_of(drawn)):
        if number == begins_anew:
            patient.reset()
        for finding in patient.read(row):
            on = on - {finding.subject} if finding.name == "recovered" else on | {finding.name}
        assert on == {name for name, detector in patient.detectors.items() if detector.active}

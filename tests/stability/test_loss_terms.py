import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability.loss_terms import LossConflict, LossImbalance


def imbalances(detector, norms, first=0, weights=None):
    return [(i, f.subject) for i, row in enumerate(norms, first) for f in detector.update(i, row, weights)]


def conflicts(detector, cosines, first=0, pair=("a", "b")):
    return [(i, f.subject) for i, value in enumerate(cosines, first) for f in detector.update(i, {pair: value})]


def test_a_term_that_drowns_and_the_one_that_drowns_it():
    assert imbalances(LossImbalance(), [{"l1": 2.0, "smooth": 0.002}] * 9) == [(4, "l1"), (4, "smooth")]
    assert imbalances(LossImbalance(), [{"l1": 2.0, "smooth": 0.2, "ssim": 1.0}] * 9) == []


def test_single_measurements_do_not_count():
    fine, out = {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.0}
    assert imbalances(LossImbalance(), [fine, out, fine, fine, out] * 5) == []  # never three of five
    assert imbalances(LossImbalance(), [fine, out] * 5) == [(5, "a"), (5, "b")]  # and told once where it comes and goes
    broken = [{"a": 1.0, "b": math.nan}, {"a": 0.0, "b": 0.0}, {"a": 1.0}, {"a": 1.0, "b": math.inf}] * 5
    assert imbalances(LossImbalance(), broken) == []


def test_it_says_which_weight_would_balance_it():
    detector = LossImbalance()
    rows = [{"l1": 3.0, "ssim": 1.0, "smooth": 0.01}] * 5
    findings = [detector.update(i, row, {"l1": 1.0, "ssim": 1.0, "smooth": 0.1}) for i, row in enumerate(rows)][-1]
    (finding,) = findings
    assert finding.message == "'smooth' has 0.25 % of the gradient"
    # the others' mean norm is 2, 200 times as long; ten times is the step to try
    assert (finding.severity, finding.advice[0].override) == ("info", "loss.smooth=1.0")


def test_a_term_in_a_thousandth_of_the_gradient_has_drowned():
    severities = []
    for norm in (0.0021, 0.0019):
        detector = LossImbalance()
        found = [detector.update(i, {"l1": 1.0, "ssim": 1.0, "smooth": norm}) for i in range(5)][-1]
        severities += [finding.severity for finding in found]
    assert severities == ["info", "warning"]


def test_no_gradient_at_all_is_another_matter():
    detector = LossImbalance()
    findings = [detector.update(i, {"l1": 1.0, "ssim": 1.0, "mask": 0.0}, {"mask": 1.0}) for i in range(5)][-1]
    assert findings[0].advice[0].override == ""
    assert "no gradient at all" in findings[0].advice[0].why


def test_imbalance_is_over_when_five_in_a_row_are_within_the_limits():
    detector = LossImbalance()
    assert imbalances(detector, [{"a": 1.0, "b": 1.0, "c": 0.01}] * 5) == [(4, "c")]
    assert imbalances(detector, [{"a": 1.0, "b": 1.0, "c": 0.1}] * 4, first=10) == []
    assert detector.active
    assert imbalances(detector, [{"a": 1.0, "b": 1.0, "c": 0.1}], first=20) == []
    assert not detector.active


@given(norms=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=6), power=st.integers(-20, 20))
def test_only_the_shares_matter(norms, power):
    rows = [dict(zip("abcdef", norms))] * 5
    scaled = [{name: 2.0**power * norm for name, norm in row.items()} for row in rows]
    assert imbalances(LossImbalance(), rows) == imbalances(LossImbalance(), scaled)


def test_gradients_that_pull_against_each_other():
    assert conflicts(LossConflict(), [-0.6] * 9) == [(4, "a, b")]
    assert conflicts(LossConflict(), [-0.2] * 9) == []
    assert conflicts(LossConflict(), [0.5, -0.6, 0.5, 0.5, -0.6] * 9) == []  # never three of five
    assert conflicts(LossConflict(), [0.5, -0.6] * 9) == [(5, "a, b")]  # and told once where it comes and goes
    assert conflicts(LossConflict(), [-0.6, math.nan] * 9) == [(8, "a, b")]


def test_the_order_of_the_two_does_not_matter():
    detector = LossConflict()
    pairs = [("a", "b"), ("b", "a")] * 3
    findings = [detector.update(i, {pair: -0.9}) for i, pair in enumerate(pairs)]
    assert [len(found) for found in findings] == [0, 0, 0, 0, 1, 0]


def test_it_says_without_which_to_try():
    detector = LossConflict()
    findings = [detector.update(i, {("l1", "smooth"): -0.5}, {"l1": 2.0, "smooth": 0.3}) for i in range(5)][-1]
    assert findings[0].message == "'l1' and 'smooth' pull against each other: their gradients have a cosine of -0.5"
    assert findings[0].advice[0].override == "loss.smooth=0"
    assert findings[0].evidence == {"cosine": -0.5, "norm of l1": 2.0, "norm of smooth": 0.3}


def test_conflict_is_over_when_five_in_a_row_are_above():
    detector = LossConflict()
    conflicts(detector, [-0.6] * 5)
    conflicts(detector, [-0.2] * 4, first=10)
    assert detector.active
    conflicts(detector, [-0.2], first=20)
    assert not detector.active


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossImbalance(0.9, 0.1), "least is 0.9"),
        (lambda: LossImbalance(-0.1), "least is -0.1"),
        (lambda: LossConflict(0.3), "cosine is 0.3"),
        (lambda: LossConflict(-1.0), "cosine is -1.0"),
    ],
)
def test_says_what_it_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()

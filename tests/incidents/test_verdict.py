import math

import pytest

from ignition.incidents.verdict import Judged, Limits, judge, limit_of

NAN, INF = math.nan, math.inf
FINE, BAD = ["", "", "", ""], ["loss nan", "loss nan", "", "loss 9 above 2"]


def test_a_limit_is_six_spreads_above_the_median():
    # median 10, absolute deviations 0 1 1 2 2 ... -> MAD 1
    values = [10.0, 9.0, 11.0, 8.0, 12.0] * 4
    assert limit_of(values) == pytest.approx(10 + 6 * 1.4826)
    assert limit_of([*values, NAN, INF]) == limit_of(values)


@pytest.mark.parametrize(("count", "limit"), [(20, 10 * (1 + 6 * 0.03)), (15, 10 * (1 + 6 * 0.25))])
def test_values_without_spread_have_some_all_the_same(count, limit):
    assert limit_of([10.0] * count) == pytest.approx(limit)


def test_a_negative_loss_has_a_limit_above_it():
    assert limit_of([-10.0] * 20) == pytest.approx(-10 + 6 * 0.3)


@pytest.mark.parametrize(
    ("loss", "norm", "why"),
    [
        (1.0, 1.0, ""),
        (2.0, 3.0, ""),
        (2.1, 1.0, "loss 2.1 above 2"),
        (1.0, 3.1, "gradient norm 3.1 above 3"),
        (NAN, NAN, "loss nan"),
        (1.0, INF, "gradient norm inf"),
        (-INF, 1.0, "loss -inf"),
    ],
)
def test_why_numbers_are_bad(loss, norm, why):
    assert Limits(2.0, 3.0).why_bad(loss, norm) == why


@pytest.mark.parametrize(
    ("before", "then", "guilty", "words"),
    [
        ((5, "loss nan", FINE), (9, "loss nan", FINE), "batch", "in that of iteration 5 as well"),
        ((9, "loss nan", FINE), (9, "loss nan", FINE), "batch", "none of 4 other batches is bad; no single sample"),
        ((5, "", FINE), (9, "loss nan", BAD), "state", "the weights went wrong between the two"),
        ((5, "", FINE), (9, "", BAD), "state", "3 of 4 other batches are bad in the state of iteration 9"),
        ((5, "loss nan", BAD), (9, "loss nan", BAD), "state", "the weights were wrong before that already"),
        ((9, "loss nan", BAD), (9, "loss nan", BAD), "state", "there is no earlier state"),
        ((9, "", FINE), (9, "loss nan", BAD), "state", "a handler has changed the weights there"),
        ((5, "loss nan", FINE), (9, "loss nan", BAD), "both", "is bad in the state of iteration 5 already"),
        ((5, "", FINE), (9, "loss nan", FINE), "both", "this batch and this state together"),
        ((5, "", FINE), (9, "", ["", "", "", "loss nan"]), "neither", ""),
        ((5, "loss nan", []), (9, "loss nan", []), "batch", "none of 0 other batches"),
    ],
)
def test_who_is_guilty(before, then, guilty, words):
    verdict = judge(Judged(*before), Judged(*then))
    assert verdict.guilty == guilty
    assert words in verdict.reason


def test_a_batch_that_is_fine_without_a_sample_is_not_guilty_itself():
    verdict = judge(Judged(5, "loss nan", FINE), Judged(9, "loss nan", FINE), samples=[517])
    assert (verdict.guilty, verdict.samples) == ("sample", [517])
    assert verdict.reason == (
        "without 517 the batch is fine; with it it is bad in the state of iteration 9 (loss nan), where none of 4 "
        "other batches is bad, and in that of iteration 5 as well"
    )
    # a spoilt state acquits the samples
    assert judge(Judged(5, "loss nan", BAD), Judged(9, "loss nan", BAD), samples=[517]).samples == []

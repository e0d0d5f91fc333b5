import math

import pytest

from ignition.stability import ExplodingTerm

USUAL = {"l1": 1.5, "spread": 0.5}


def after(rows, exploding=None):
    """What was found where, in rows of (loss, terms) that follow 30 usual ones."""
    exploding = exploding or ExplodingTerm()
    rows = [(2.0, USUAL)] * 30 + list(rows)
    found = [exploding.update(i, loss, terms) for i, (loss, terms) in enumerate(rows)]
    return {i: finding for i, finding in enumerate(found) if finding}


def spread(value):
    return 1.5 + value, {"l1": 1.5, "spread": value}


def test_a_term_that_alone_is_infinite_is_found_at_the_third_time():
    found = after([spread(math.inf), (2.0, USUAL), spread(1e9), spread(math.nan)])
    assert list(found) == [33]
    assert (found[33].subject, found[33].first, found[33].last) == ("spread", 30, 33)
    assert found[33].message == "'spread' alone makes the loss nan: it is nan and was 0.5"
    assert found[33].advice[0].override == "loss.spread=0"


def test_two_outliers_in_64_steps_are_bad_batches():
    assert after([spread(1e9), spread(1e9)] + [(2.0, USUAL)] * 62 + [spread(1e9)]) == {}


def test_where_all_terms_explode_it_is_the_network():
    assert after([(1e9, {"l1": 1e9, "spread": 1e9})] * 9) == {}


def test_a_term_of_weight_nought_may_be_what_it_likes():
    assert after([(1.5, {"l1": 1.5, "spread": math.inf})] * 9) == {}


def test_a_term_that_was_nought_may_grow_to_the_size_of_the_whole():
    start = [(1.5, {"l1": 1.5, "spread": 0.0})] * 30
    exploding = ExplodingTerm()
    for i, (loss, terms) in enumerate(start + [(101.5, {"l1": 1.5, "spread": 100.0})] * 9):
        assert exploding.update(i, loss, terms) is None


def test_one_term_is_the_whole_and_no_culprit():
    exploding = ExplodingTerm()
    assert not any(exploding.update(i, 10.0**i, {"l1": 10.0**i}) for i in range(40))


def test_it_ends_when_none_of_64_has_exploded():
    exploding = ExplodingTerm()
    after([spread(1e9)] * 3 + [(2.0, USUAL)] * 63, exploding)
    assert exploding.active
    exploding.update(1000, 2.0, USUAL)
    assert not exploding.active


@pytest.mark.parametrize("times", [1.0, 0.0, math.nan])
def test_times_is_above_1(times):
    with pytest.raises(ValueError, match="times is"):
        ExplodingTerm(times)

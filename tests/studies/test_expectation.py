"""The small language of expectations."""

import pytest

from ignition.studies.expectation import BadExpectation, Clause, parse

VARIANTS = ["before", "after"]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("below 0.05", [Clause(True, 0.05)]),
        ("above -1e-3", [Clause(False, -1e-3)]),
        ("below 0.05 and below half of before", [Clause(True, 0.05), Clause(True, 0.5, "before")]),
        ("above twice before", [Clause(False, 2.0, "before")]),
        ("below 90 % of trivial", [Clause(True, 0.9, "trivial")]),
        ("below 90% of trivial", [Clause(True, 0.9, "trivial")]),
        ("below   0.9 of\nbefore", [Clause(True, 0.9, "before")]),
        ("between 0.5 and 1 and above before", [Clause(False, 0.5), Clause(True, 1.0), Clause(False, 1.0, "before")]),
    ],
)
def test_a_limit_is_a_number_a_variant_or_a_share_of_one(text, clauses):
    assert parse(text, VARIANTS) == clauses


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("less than 3", "'less than 3' begins with neither 'below' nor 'above'"),
        ("below", "'below' begins with neither"),
        (
            "below 3 or above 5",
            "'3 or above 5' is neither a number nor a share of a variant (variants: before, after, ",
        ),
        ("below half of befor", "'half of befor' is neither"),
        ("below 3 and", "'3 and' is neither"),
        ("between 3 and 1", "lies nothing"),
        ("between 1 and 3 or 4", "begins with neither"),
        ("below 3 px", "'3 px' is neither"),
    ],
)
def test_what_is_no_expectation_is_told_with_the_grammar(text, says):
    with pytest.raises(BadExpectation) as caught:
        parse(text, VARIANTS)
    assert says in str(caught.value)
    assert "below LIMIT" in str(caught.value) or "smaller number" in str(caught.value)

"""Numbers drawn as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.curve import draw, fits, sparkline

NAN = math.nan


def test_a_curve_with_its_axes():
    assert draw([0, 1, 2, 3, 4, 3, 2, 1, 0], width=25, height=5, ticks=("0", "4", "8 epochs")) == [
        "4 ┤         ⣠⠞⠙⢦⡀",
        "  ┤       ⣠⠞⠁   ⠙⢦⡀",
        "2 ┤    ⢀⡴⠋⠁       ⠉⠳⣄",
        "  ┤  ⣀⡴⠋            ⠈⠳⣄⡀",
        "0 ┤⣠⠞⠁                 ⠙⢦",
        "  ┼──────────────────────",
        "   0         4   8 epochs",
    ]


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0, 1, 2], ["2 |       ..'", "1 |   ..-''", "0 |..''"]),
        ([0, 0, NAN, 2, 2], ["2 |       '''", "1 |", "0 |..."]),  # a gap
        ([0] * 9 + [5] + [0] * 90, ["  5 ||", "2.5 ||", "  0 ||......."]),  # no peak is lost among many values
        ([1, 1, 1, 0, 0, 0], ["  1 |''''.", "0.5 |    |", "  0 |    '..."]),
        ([1] * 50 + [0] * 50, ["  1 |''''|", "0.5 |    |", "  0 |    |..."]),  # a jump is a line
        ([5, 5], ["10 |", " 5 |---------", " 0 |"]),  # a level line is in the middle
        ([7], ["14 |", " 7 |---------", " 0 |"]),
        ([NAN, 2, NAN], ["4 |", "2 |    -", "0 |"]),  # none is lost among gaps
        ([-5.00001, -5.00002], [" -5.00001 |'|", "-5.000015 | |", " -5.00002 | |"]),  # digits that tell them apart
        ([1e308, -1e308], [" 1e+308 |'|", "      0 | '|.", "-1e+308 |   |"]),
        ([NAN, math.inf], ["  1 |", "0.5 |", "  0 |"]),
        ([], ["  1 |", "0.5 |", "  0 |"]),
    ],
)
def test_plain_curves(values, lines):
    *drawn, axis = draw(values, width=13, height=3, plain=True)
    assert drawn == lines
    assert axis.strip().startswith("+-")


def test_bounds_may_be_given_and_what_is_outside_is_at_the_edge():
    assert draw([1, 1, 9], width=13, height=2, low=0, high=4, plain=True)[:2] == ["4 |      |'''", "0 |-----''"]


def test_ticks_that_do_not_fit_are_left_out_but_for_the_ends():
    ticks = ("0", "250", "500", "750", "1000")
    assert draw([1, 2], width=16, height=2, ticks=ticks, plain=True)[-1] == "   0 250    1000"


values = st.lists(st.floats(), max_size=300)
words = st.lists(st.text("0123456789", min_size=1, max_size=3), max_size=5)


@given(values, st.integers(24, 80), st.integers(1, 12), st.booleans(), words)
def test_any_numbers_fit_the_place_they_are_given(values, width, height, plain, ticks):
    lines = draw(values, width=width, height=height, plain=plain, ticks=ticks)
    assert len(lines) == height + 1 + bool(ticks)
    assert max(map(len, lines)) <= width
    assert not plain or all(line.isascii() for line in lines)
    side = "|" if plain else "┤"
    has_dots = any(line.partition(side)[2] for line in lines[:height])
    assert has_dots == any(math.isfinite(value) for value in values)


def test_a_sparkline():
    assert sparkline(range(8)) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 2, 4, 4, 4, 8, 8], width=4) == "▁▄▅█"  # means of two
    assert sparkline([1, NAN, math.inf, 2]) == "▁  █"
    assert sparkline([3]) == sparkline([-3]) == "▅"
    assert sparkline([]) == ""
    assert sparkline([NAN, NAN]) == "  "
    assert sparkline([1e308, 0, -1e308], plain=True) == "#=_"


@given(values, st.integers(1, 30), st.booleans())
def test_any_numbers_make_a_sparkline(values, width, plain):
    word = sparkline(values, width, plain=plain)
    assert len(word) == min(width, len(values))
    assert word.isascii() or not plain


def test_what_an_encoding_can_hold():
    names = ("utf-8", "utf-16", "ascii", "latin-1", "cp437", "no such", None)
    assert [name for name in names if fits(name)] == ["utf-8", "utf-16"]

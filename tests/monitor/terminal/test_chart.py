import math

from ignition.monitor.curves import Point
from ignition.monitor.terminal.chart import Axes, Chart, Series


def series(values, **kind):
    points = [Point(i, 0.0, *((value, value, value) if not isinstance(value, tuple) else value), i)
              for i, value in enumerate(values)]  # fmt: skip
    return Series(points, **kind)


def drawn(*curves, width=30, height=4, marks=(), **kind):
    chart = Chart(width, height, Axes.around(curves), **kind)
    for curve in curves:
        chart.draw(curve)
    for mark in marks:
        chart.mark(mark, "red")
    return [line.plain for line in chart.lines()]


def test_a_line_from_the_first_to_the_last_iteration():
    assert drawn(series([0, 1, 2, 3])) == [
        "    3 ┤                 ⢀⣀⠤⠔⠒⠉",
        "      ┤           ⢀⣀⠤⠔⠒⠉⠁     ",
        "      ┤     ⢀⣀⠤⠔⠒⠉⠁           ",
        "    0 ┤⣀⠤⠔⠒⠉⠁                 ",
        "      ┼───────────────────────",
        "       0                     3",
    ]


def test_evaluations_are_dots_before_the_line_and_findings_stand_on_the_time_line():
    lines = drawn(series([0, 1, 2, 3]), series([math.nan, math.nan, 0.0], dots=True), marks=[0, 3, 9], plain=True)
    assert lines == [
        "    3 |                  ..--'",
        "      |            ..--''     ",
        "      |     ..--'''           ",
        "    0 |.--''          o       ",
        "      +!---------------------!",
        "       0                     3",
    ]


def test_the_range_is_behind_the_mean_where_the_two_can_be_told_apart():
    wide = series([(1.0, 0.0, 2.0)] * 30)
    chart = Chart(20, 3, Axes.around([wide]))
    chart.draw(wide)
    styles = {span.style for span in chart.lines()[0].spans}
    assert "dim cyan" in styles
    assert drawn(wide, ranges=False)[2] == "      ┤" + 23 * "⠉"


def test_where_a_value_is_not_finite_there_is_a_gap():
    assert drawn(series([0, 1, math.nan, 3, 2])) == [
        "    3 ┤                 ⠉⠒⠤⣀  ",
        "      ┤                     ⠉⠒",
        "      ┤    ⣀⠤                 ",
        "    0 ┤⣀⠤⠒⠉                   ",
        "      ┼───────────────────────",
        "       0                     4",
    ]


def test_one_value_far_away_does_not_flatten_the_others():
    values = [1 + 0.1 * (i % 5) for i in range(300)]
    axes = Axes.around([series([*values, 1e19])])
    assert (axes.bottom, axes.log) == (1.0, False)
    assert axes.top < 4
    assert axes.down(1e19) == 0.0


def test_values_over_many_powers_of_ten_have_a_logarithmic_axis():
    axes = Axes.around([series([10.0**-i for i in range(7)])])
    assert axes.log
    assert axes.down(1e-3) == 0.5
    assert axes.middle() == 1e-3


def test_nothing_and_a_level_line_and_infinities():
    assert drawn(series([]))[0].startswith("    1 ┤ ")
    assert drawn(series([2.0, 2.0]), height=3)[1] == "    2 ┤" + 23 * "⠤"
    assert len(drawn(series([math.inf, math.nan, -1.7e308, 1.7e308]))) == 6


def test_all_lines_are_of_the_width_that_was_asked_for():
    for width in (8, 20, 79):
        assert {len(line) for line in drawn(series([1, 5, 2]), width=width)} == {width}

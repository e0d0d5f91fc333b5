"""Rendering of scenes whose images are known beforehand."""

import numpy as np
import pytest

from recipes.parts.stereo.rendering import render_pair
from recipes.parts.stereo.scene import Sheet

PAINT = np.array([0, 0, 1, 0, 0, 0, 1, *[0.5] * 6, 0, 0])


def make_wall(*curve):
    return Sheet(np.array([*curve, *[0.0] * (6 - len(curve))]), None, "box", np.zeros(6), np.zeros(2), PAINT)


def test_a_box_before_a_wall_hides_as_many_columns_as_their_disparities_differ():
    wall = make_wall(2.0)
    outline = np.array([-30.2 / 8, 1 / 8, 0, -10.2 / 5, 0, 1 / 5])  # |x - 30.2| < 8, |y - 10.2| < 5
    box = Sheet(np.array([8.0, 0, 0, 0, 0, 0]), (22.2, 38.2, 5.2, 15.2), "box", outline, np.zeros(2), PAINT)

    pair = render_pair([wall, box], (20, 64))

    row, empty_row = pair["disparity"][0, 10], pair["disparity"][0, 2]
    assert row.tolist() == [2.0] * 23 + [8.0] * 16 + [2.0] * 25
    assert empty_row.tolist() == [2.0] * 64
    # Columns 23..38 of the box stand at 15..30 in the right image, and hide the wall's that belong there: 17..32.
    assert np.flatnonzero(~pair["visible"][0, 10]).tolist() == [0, 1, *range(17, 23)]
    assert np.flatnonzero(~pair["visible"][0, 2]).tolist() == [0, 1]
    # From the right, columns 31..36 of the wall are behind the box, and the last two out of the left image.
    assert np.flatnonzero(~pair["visible_right"][0, 10]).tolist() == [*range(31, 37), 62, 63]


def test_a_curved_wall_has_the_disparity_of_its_formula_in_both_views():
    pair = render_pair([make_wall(4.0, 0.1, 0.05, 0.001)], (8, 64))

    x, y = np.meshgrid(np.arange(64), np.arange(8))
    assert pair["disparity"][0] == pytest.approx(4 + 0.1 * x + 0.05 * y + 0.001 * x * x, abs=1e-4)
    left = x + pair["disparity_right"][0]  # where the right view's points are in the left one
    assert pair["disparity_right"][0] == pytest.approx(4 + 0.1 * left + 0.05 * y + 0.001 * left * left, abs=1e-3)


def test_a_vertical_shift_moves_the_right_image_by_rows():
    wall = [make_wall(3.0)]

    straight, shifted = render_pair(wall, (12, 64)), render_pair(wall, (12, 64), vertical_shift=1.0)

    assert (shifted["left"] == straight["left"]).all()
    assert shifted["right"][:, :-1] == pytest.approx(straight["right"][:, 1:], abs=1e-3)

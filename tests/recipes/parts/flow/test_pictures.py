"""Flow as colours, and the strip that a person looks at."""

import math

import pytest
import torch

from recipes.parts.flow.pictures import colour_flow, flow_strip


def test_no_motion_is_white_and_the_fastest_is_full():
    flow = torch.zeros(2, 1, 3)
    flow[0, 0, 1], flow[0, 0, 2] = 2.0, 4.0

    white, half, full = colour_flow(flow, maximum=4.0).permute(2, 0, 1).flatten(1)

    assert white.tolist() == [1, 1, 1]
    assert full.min() < half.min() < 1 and full.argmax() == half.argmax() == 0  # to the right is red


def test_beyond_the_maximum_the_colour_stays_and_directions_differ():
    flow = torch.tensor([[8.0, 80.0, -8.0, 0.0], [0.0, 0.0, 0.0, 8.0]])[:, None]

    right, further, left, down = colour_flow(flow, maximum=8.0).permute(2, 0, 1).flatten(1)

    assert torch.allclose(right, further, atol=0.01)
    assert (right - left).abs().max() > 0.5 and (left - down).abs().max() > 0.3


def test_unknown_and_not_finite_is_grey():
    flow = torch.tensor([[math.nan, 1.0], [0.0, 0.0]])[:, None]
    known = torch.tensor([[[True, False]]])
    assert colour_flow(flow, maximum=1.0, known=known).unique().tolist() == [pytest.approx(0.45)]


def test_the_strip_has_five_pictures_and_two_more_with_a_truth():
    first, second, flow = torch.rand(3, 32, 48), torch.rand(3, 32, 48), torch.rand(2, 32, 48)
    seen = torch.ones(1, 32, 48, dtype=torch.bool)

    without = flow_strip(first, second, flow, seen, torch.zeros(2, 32, 48), ~seen)
    beside = flow_strip(first, second, flow, seen, torch.zeros(2, 32, 48), seen)

    width = 5 * 48 + 4  # enlarged five times, and a gap
    assert without.shape[-1] == 4 + 5 * width and beside.shape[-1] == 4 + 7 * width
    assert beside.min() >= 0 and beside.max() <= 1


def test_a_flow_that_is_not_finite_is_drawn_all_the_same():
    frame, seen = torch.rand(3, 32, 48), torch.ones(1, 32, 48, dtype=torch.bool)
    assert (
        flow_strip(frame, frame, torch.full((2, 32, 48), math.nan), seen, torch.zeros(2, 32, 48), ~seen)
        .isfinite()
        .all()
    )
    assert (
        flow_strip(frame, frame, torch.full((2, 32, 48), math.nan), seen, torch.zeros(2, 32, 48), seen).isfinite().all()
    )


def test_a_maximum_must_be_above_nought():
    with pytest.raises(ValueError, match="maximum is 0"):
        colour_flow(torch.zeros(2, 1, 1), maximum=0)

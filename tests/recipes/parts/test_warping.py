"""Sampling by flow and by disparity, and carrying disparity to the other eye."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipes.parts.warping import right_view_disparity, warp, warp_disparity

DATA = Path(__file__).resolve().parents[3] / "../shared/data"


def test_a_whole_pixel_flow_copies_pixels_exactly_and_the_outside_is_zero_or_the_border():
    image = torch.rand(2, 3, 7, 11)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 7, 11)

    moved = warp(image, flow)

    assert torch.allclose(moved[:, :, 1:, :9], image[:, :, :-1, 2:], atol=1e-5)
    assert moved[:, :, 0].abs().max() == 0 and moved[..., 9:].abs().max() == 0
    assert torch.allclose(warp(image, flow, border=True)[:, :, 1:, 10], image[:, :, :-1, 10], atol=1e-5)


def test_between_two_pixels_it_is_their_mean():
    right = torch.tensor([0.0, 1.0, 4.0]).view(1, 1, 1, 3)

    assert torch.allclose(warp_disparity(right, torch.full((1, 1, 1, 3), 0.5))[0, 0, 0, 1:], torch.tensor([0.5, 2.5]))


def test_disparity_is_a_flow_to_the_left():
    right, disparity = torch.rand(2, 3, 6, 20), 5 * torch.rand(2, 1, 6, 20)

    by_flow = warp(right, torch.cat([-disparity, torch.zeros_like(disparity)], dim=1))

    assert torch.equal(warp_disparity(right, disparity), by_flow)


def test_the_gradient_reaches_the_disparity():
    disparity = torch.full((1, 1, 1, 8), 1.5, requires_grad=True)

    warp_disparity(torch.arange(8.0).view(1, 1, 1, 8), disparity).sum().backward()

    # The ramp rises by 1 a px and is sampled at x - d; the first pixel and half of the second look outside.
    assert torch.allclose(disparity.grad[..., 2:], torch.tensor(-1.0))


def test_half_precision_disparity_does_not_lose_pixels():
    right = torch.rand(1, 1, 1, 3000)  # columns above 2048 are not all there in float16

    moved = warp_disparity(right, torch.full((1, 1, 1, 3000), 1.0, dtype=torch.float16))

    assert torch.allclose(moved[..., 1:], right[..., :-1], atol=1e-3)


@pytest.mark.parametrize("flow", [torch.zeros(1, 1, 4, 4), torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4)])
def test_wrong_shapes_are_named(flow):
    with pytest.raises(ValueError, match=r"wanted \[B,C,H,W\] and \[B,2,H,W\]"):
        warp(torch.zeros(1, 3, 4, 4), flow)
    with pytest.raises(ValueError, match=r"wanted \[B,C,H,W\] and \[B,1,H,W\]"):
        warp_disparity(torch.zeros(3, 3, 4, 4), flow)


@settings(max_examples=25, deadline=None)
@given(level=st.floats(1.0, 12.0), slope=st.floats(-0.4, 0.4, allow_subnormal=False), tilt=st.floats(-0.5, 0.5))
def test_a_plane_is_carried_to_the_right_view_exactly(level, slope, tilt):
    # d = level + slope x + tilt y, so at x' = x - d in the right view d = (level + slope x' + tilt y) / (1 - slope).
    x, y = torch.arange(40.0).view(1, 1, 1, -1), torch.arange(4.0).view(1, 1, -1, 1)
    plane = level + slope * x + tilt * y
    seen = plane > 0.5
    expected = ((level + slope * x + tilt * y) / (1 - slope)).expand_as(plane)

    disparity, known = right_view_disparity(plane, seen)

    assert known.any() and torch.allclose(disparity[known], expected[known], atol=1e-3)
    assert torch.equal(disparity > 0, known)


def test_the_nearest_surface_is_seen_and_nothing_is_put_between_two():
    # A bar of 6 px at columns 8..11 before a wall of 2 px: in the right view it stands at 2..5 and hides the wall.
    disparity = torch.full((1, 1, 1, 16), 2.0)
    disparity[..., 8:12] = 6.0

    carried, known = right_view_disparity(disparity, disparity > 0)

    assert carried.flatten().tolist() == [2, 2, 6, 6, 6, 6] + [0] * 4 + [2] * 4 + [0, 0]
    assert known.flatten().tolist() == [True] * 6 + [False] * 4 + [True] * 4 + [False] * 2


def test_a_step_of_a_pixel_or_more_cannot_be_one_surface():
    with pytest.raises(ValueError, match=r"max_step is 1\.0"):
        right_view_disparity(torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4, dtype=torch.bool), max_step=1.0)


def cones(name):
    path = DATA / "stereo/middlebury_cones" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    pixels = torch.from_numpy(np.array(Image.open(path))).float()
    return pixels.permute(2, 0, 1)[None] / 255 if pixels.ndim == 3 else pixels[None, None] / 4


def test_real_pair_warped_by_its_truth_is_the_left_image():
    left, right, disparity = cones("im2.png"), cones("im6.png"), cones("disp2.png")
    known = disparity > 0
    both_eyes = known & (cones("cones_mask.png") > 0)

    def difference(other, mask):
        return (left - other).abs()[mask.expand_as(left)].mean().item() * 255

    assert difference(right, known) == pytest.approx(43.6, abs=0.1)
    assert difference(warp_disparity(right, disparity, border=True), known) == pytest.approx(10.9, abs=0.1)
    assert difference(warp_disparity(right, disparity), both_eyes) == pytest.approx(6.3, abs=0.1)


def test_real_left_truth_carried_to_the_right_is_the_right_truth():
    left_truth, right_truth = cones("disp2.png"), cones("disp6.png")

    carried, known = right_view_disparity(left_truth, left_truth > 0)
    both = known & (right_truth > 0)
    error = (carried - right_truth).abs()[both]

    # What differs is what the left eye alone sees and carries over something that it does not see.
    assert both.float().mean() > 0.8
    assert error.median() == 0 and error.mean() < 0.1 and (error > 1).float().mean() < 0.01


@pytest.mark.parametrize("border", [True, False])
def test_a_flow_that_is_nan_gives_nan_there_and_a_backward_pass_that_returns(border):
    image = torch.rand(1, 3, 8, 12, requires_grad=True)
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, 0, 2, 3] = math.nan
    flow.requires_grad_()
    child = os.fork()  # torch's own grid_sample ends the process there with a segmentation fault
    if child == 0:
        warp(image, flow, border=border).sum().backward()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    warped = warp(image, flow, border=border)
    assert warped.isnan().sum() == 3 and warped[0, :, 2, 3].isnan().all()
    assert torch.allclose(warped[0, :, 3], image[0, :, 3], atol=1e-5)

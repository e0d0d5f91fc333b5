"""Pictures of disparity: what colour says what."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.error_map import UNKNOWN
from recipes.parts.stereo.pictures import colour_disparity, disparity_strip

DATA = Path(__file__).resolve().parents[4] / "../shared/data"


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_far_is_blue_middle_green_near_red_and_nearer_still_no_other_red():
    far, middle, near, nearer = colour_disparity(row(4, 32, 60, 999), maximum=64)[0, :, 0].T

    assert far.argmax() == 2 and middle.argmax() == 1 and near.argmax() == 0
    assert torch.equal(nearer, colour_disparity(row(64), maximum=64)[0, :, 0, 0])


def test_the_polynomial_is_turbo():
    # The colour map's own table at 0, 1/2 and 1, in 8 bits; the fit is worst at its dark ends.
    expected = torch.tensor([[48, 18, 59], [164, 252, 60], [122, 4, 3]]) / 255

    colours = colour_disparity(row(0, 0.5, 1), maximum=1)[0, :, 0].T

    assert (colours - expected).abs().max() < 0.13


def test_unknown_is_grey():
    known = torch.tensor([[[[True, False, True]]]])

    colours = colour_disparity(row(5, 5, torch.nan), maximum=10, known=known)

    assert (colours[..., 1:] == UNKNOWN).all() and not (colours[..., 0] == UNKNOWN).any()


def test_a_sample_without_truth_or_with_a_prediction_gone_wrong_is_still_a_picture():
    left, disparity = torch.rand(3, 16, 32), torch.full((1, 16, 32), 5.0)
    nowhere = torch.zeros(1, 16, 32, dtype=torch.bool)

    assert disparity_strip(left, disparity, torch.zeros_like(disparity), nowhere).isfinite().all()
    assert disparity_strip(left, disparity * torch.nan, disparity, ~nowhere).isfinite().all()


def test_a_maximum_of_nothing_is_named():
    with pytest.raises(ValueError, match="maximum is 0 px"):
        colour_disparity(row(1), maximum=0)


def test_a_real_pair():
    folder = DATA / "stereo/middlebury_cones"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    left = torch.from_numpy(np.array(Image.open(folder / "im2.png"))).permute(2, 0, 1) / 255
    truth = torch.from_numpy(np.array(Image.open(folder / "disp2.png"))).float()[None] / 4

    picture = disparity_strip(left, truth + 1, truth, truth > 0)

    assert picture.shape == (3, 26 + 375 + 4, 4 + 4 * 454)
    errors = picture[:, 26:401, 4 + 3 * 454 : 454 * 4]
    share_unknown = ((errors - UNKNOWN).abs() < 0.01).all(0).float().mean().item()
    assert share_unknown == pytest.approx((truth == 0).float().mean().item(), abs=0.01)

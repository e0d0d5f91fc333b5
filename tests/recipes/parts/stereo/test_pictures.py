"""Pictures of disparity: what colour says what."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.stereo.pictures import UNKNOWN, colour_disparity, disparity_strip, error_map, strip

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


def test_unknown_is_grey_in_both():
    known = torch.tensor([[[[True, False, True]]]])

    colours = colour_disparity(row(5, 5, torch.nan), maximum=10, known=known)
    errors = error_map(row(5, 5, 5), row(5, torch.nan, 5), known)

    assert (colours[..., 1:] == UNKNOWN).all() and not (colours[..., 0] == UNKNOWN).any()
    assert (errors[..., 1] == UNKNOWN).all() and errors.isfinite().all()


def test_right_is_dark_blue_wrong_is_orange_and_12_px_or_nan_as_red_as_it_gets():
    prediction = row(0, 1, 3, 6, 12, 50, torch.nan)

    colours = error_map(prediction, row(*[0] * 7), torch.ones(1, 1, 1, 7, dtype=torch.bool))[0, :, 0].T

    redness = (colours[:, 0] - colours[:, 2]).tolist()
    assert redness[0] < 0 and redness[1] < 0 < redness[2] < redness[3] and colours[0].max() < 0.25
    assert torch.allclose(colours[2], torch.tensor([0.95, 0.95, 0.75]))
    assert torch.allclose(colours[4], colours[5]) and torch.allclose(colours[4], colours[6])


def test_a_strip_has_the_pictures_whole_and_enlarged_below_their_names():
    left, right = torch.rand(3, 40, 100), torch.rand(3, 40, 100)

    picture = strip({"left": left, "right": right})

    # 100 px are enlarged three times; 26 px for the names, 4 px between and around.
    assert picture.shape == (3, 26 + 120 + 4, 4 + 2 * 304)
    assert torch.allclose(picture[:, 26:146:3, 4:304:3], left, atol=0.003)
    assert torch.allclose(picture[:, 26:146:3, 308:608:3], right, atol=0.003)
    assert picture[:, :26, 4:60].min() < 0.3  # there is black text
    assert picture[:, :, :4].min() == 1


def test_pictures_of_different_sizes_are_named():
    with pytest.raises(ValueError, match=r"'b': \(3, 4, 5\)"):
        strip({"a": torch.rand(3, 4, 4), "b": torch.rand(3, 4, 5)})


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

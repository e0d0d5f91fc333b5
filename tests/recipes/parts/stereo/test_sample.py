"""The form of a sample, and crops of it."""

import math

import pytest
import torch

from recipes.parts.stereo.sample import StereoMaps


def numbered(height, width, **more):
    """Every pixel tells its own row and column; the disparity is 2 px, unknown in column 3."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([rows, columns, rows * 0 + 51]).to(torch.uint8)
    disparity = torch.where(columns == 3, 0.0, 2.0)[None]
    return StereoMaps(image, image, disparity, disparity > 0, **more)


def test_a_whole_sample_has_the_contracts_types_and_ranges():
    sample = numbered(4, 6, focal_baseline=98.6).sample()
    assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()} == {
        "left": (torch.float32, (3, 4, 6)),
        "right": (torch.float32, (3, 4, 6)),
        "disparity": (torch.float32, (1, 4, 6)),
        "valid": (torch.bool, (1, 4, 6)),
        "visible": (torch.bool, (1, 4, 6)),
        "focal_baseline": (torch.float32, ()),
    }
    assert sample["left"][2, 0, 0] == pytest.approx(0.2)
    assert sample["focal_baseline"] == pytest.approx(98.6)
    assert math.isnan(numbered(4, 6).sample()["focal_baseline"])


def test_visible_leaves_out_matches_outside_the_right_image_and_what_it_does_not_see():
    seen = torch.ones(1, 4, 6, dtype=torch.bool)
    seen[..., 5] = False
    sample = numbered(4, 6, seen=seen).sample()
    assert sample["valid"][0, 0].tolist() == [True, True, True, False, True, True]
    assert sample["visible"][0, 0].tolist() == [False, False, True, False, True, False]


def test_a_crop_takes_the_same_place_of_every_map():
    torch.manual_seed(0)
    places = set()
    for _ in range(50):
        sample = numbered(8, 10).sample((4, 6))
        top, left = (int(value) for value in (sample["left"][:2, 0, 0] * 255).round())
        places.add((top, left))
        assert torch.equal(sample["left"], sample["right"])
        assert (sample["left"][1, 0] * 255).round().tolist() == list(range(left, left + 6))
        assert sample["valid"][0, 0].tolist() == [column != 3 for column in range(left, left + 6)]
        assert sample["visible"][0, 0, :2].tolist() == [False, False]  # their match is cropped off
    assert {top for top, _ in places} == set(range(5)) and {left for _, left in places} == set(range(5))


def test_the_crops_place_comes_from_torchs_generator():
    torch.manual_seed(3)
    first = numbered(64, 64).sample((8, 8))
    torch.manual_seed(3)
    assert torch.equal(numbered(64, 64).sample((8, 8))["left"], first["left"])


def test_a_picture_smaller_than_the_crop_is_padded_with_pixels_that_do_not_count():
    sample = numbered(4, 6).sample((8, 6))
    assert sample["left"].shape == (3, 8, 6)
    assert sample["valid"].sum() == 4 * 5
    assert not sample["valid"][0, 4:].any() and not sample["disparity"][0, 4:].any()

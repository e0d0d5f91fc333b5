"""Tiles: the prediction of the whole where the network's sight fits the halo, and no step where it does not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.staining.tiled_prediction import predict_in_tiles
from recipes.parts.staining.unet import UNet


def small_unet():
    torch.manual_seed(0)
    return UNet(3, 2, base=4, depth=1).eval()  # sees 8 px around: two levels of 3x3 twice, the lower one doubled


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 150), st.integers(20, 150), st.sampled_from([48, 64]))
def test_it_is_the_prediction_of_the_whole(height, width, tile):
    network, picture = small_unet(), torch.rand(2, 3, height, width)
    with torch.inference_mode():
        whole = network(picture)

    tiled = predict_in_tiles(network, picture, tile=tile, halo=10, stride=2)
    assert tiled.shape == whole.shape
    assert torch.allclose(tiled, whole, atol=1e-5)


def test_it_sees_no_more_than_a_tile_at_a_time():
    seen = []

    def predict(part):
        seen.append(tuple(part.shape[2:]))
        return part

    picture = torch.rand(1, 3, 100, 260)
    assert torch.allclose(predict_in_tiles(predict, picture, tile=64, halo=8, stride=4), picture)
    assert max(seen) == (64, 64) and len(seen) == 2 * 6


def test_a_picture_that_fits_is_predicted_at_once():
    calls = []
    predict_in_tiles(lambda part: calls.append(part) or part, torch.rand(1, 3, 64, 50), tile=64, halo=8, stride=4)

    assert [tuple(part.shape) for part in calls] == [(1, 3, 64, 50)]


def test_where_tiles_disagree_they_are_blended_without_a_step():
    # Each tile says its own mean, as a network that sees farther than the halo might.
    def predict(part):
        return part.mean((2, 3), keepdim=True).expand(-1, -1, *part.shape[2:])

    picture = torch.linspace(0, 1, 300).expand(1, 1, 300, 300)
    tiled = predict_in_tiles(predict, picture, tile=128, halo=24, stride=4)
    step = tiled.diff(dim=-1).abs().max()

    assert tiled.max() - tiled.min() > 0.3
    assert step < 0.02  # pasted side by side they would jump by a tile's difference, 0.2


def test_a_tile_that_is_all_halo_is_told():
    with pytest.raises(ValueError, match="tile is 64 px; it must be a multiple of 8 and at least 4 x 16"):
        predict_in_tiles(lambda part: part, torch.rand(1, 3, 99, 99), tile=64, halo=16, stride=8)

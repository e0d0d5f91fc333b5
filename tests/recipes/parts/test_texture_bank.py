"""The bank of textures and sampling from it."""

import numpy as np
import pytest
import torch

from recipes.parts.texture_bank import TILES, sample_textures, texture_atlas, tile_corner


def sample(tile, u, v):
    u, v = np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32)
    corner_x, corner_y = tile_corner(np.full((1, 1), tile))
    return torch.from_numpy(sample_textures(corner_x, corner_y, u, v))[:, 0, 0]


def test_a_place_between_texels_is_their_mean_and_textures_repeat():
    x, y = (int(corner) for corner in tile_corner(np.array(9)))
    atlas = texture_atlas()[0]

    assert torch.allclose(sample(9, 3.0, 5.0), atlas[:, y + 5, x + 3], atol=2e-3)
    assert torch.allclose(sample(9, 3.5, 5.0), (atlas[:, y + 5, x + 3] + atlas[:, y + 5, x + 4]) / 2, atol=2e-3)
    assert torch.allclose(sample(9, 3.25 - 512, 5.0 + 256), sample(9, 3.25, 5.0), atol=2e-3)
    assert torch.equal(atlas[:, y, x : x + 256], atlas[:, y + 256, x : x + 256])  # row 256 is row 0 again


def test_textures_are_in_range_have_contrast_and_are_made_once():
    atlas = texture_atlas()[0]

    assert atlas is texture_atlas()[0] or torch.equal(atlas, texture_atlas()[0])
    assert atlas.min() >= 0 and atlas.max() <= 1
    for tile in range(TILES):
        x, y = (int(corner) for corner in tile_corner(np.array(tile)))
        part = atlas[:, y : y + 256, x : x + 256]
        assert part.mean().item() == pytest.approx(0.5, abs=0.08)
        assert part.std() > 0.1

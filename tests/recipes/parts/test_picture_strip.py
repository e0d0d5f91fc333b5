"""A strip of pictures: where each one is, and what cannot be one."""

import pytest
import torch

from recipes.parts.picture_strip import strip


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

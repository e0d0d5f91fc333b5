"""A pair's files read together."""

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.stereo.pair import StereoPair


def pair(folder, *, disparity=((0, 4, 8),), size=(3, 1), masks=()):
    for name, width_height in (("l.png", (3, 1)), ("r.png", size)):
        Image.new("RGB", width_height, (10, 20, 30)).save(folder / name)
    Image.fromarray(np.array(disparity, dtype=np.uint8)).save(folder / "d.png")
    for number, (values, _) in enumerate(masks):
        Image.fromarray(np.array([values], dtype=np.uint8)).save(folder / f"m{number}.png")
    named = tuple((folder / f"m{number}.png", where) for number, (_, where) in enumerate(masks))
    return StereoPair(folder / "l.png", folder / "r.png", folder / "d.png", "a", scale=4.0, masks=named)


def test_maps_have_the_numbers_of_the_files(tmp_path):
    maps = pair(tmp_path, masks=[([0, 0, 255], "nonzero"), ([0, 1, 0], "zero")]).read()
    assert maps.left[:, 0, 0].tolist() == [10, 20, 30] and maps.left.dtype == torch.uint8
    assert maps.disparity.tolist() == [[[0, 1, 2]]]
    assert maps.valid.tolist() == [[[False, True, True]]]
    assert maps.seen.tolist() == [[[False, False, True]]]  # both masks must say so
    assert np.isnan(maps.focal_baseline)


def test_without_masks_it_is_not_known_what_is_seen(tmp_path):
    assert pair(tmp_path).read().seen is None


def test_files_of_different_sizes_are_both_named_with_their_sizes(tmp_path):
    with pytest.raises(DataError, match=r"l.png is 3x1 and .*r.png is 4x2 px; they must be of one size"):
        pair(tmp_path, size=(4, 2)).read()
    with pytest.raises(DataError, match=r"l.png is 3x1 and .*d.png is 2x1 px"):
        pair(tmp_path, disparity=((4, 8),)).read()


def test_a_disparity_map_without_any_disparity_is_named(tmp_path):
    with pytest.raises(DataError, match=r"d.png has no valid disparity: every pixel is unknown"):
        pair(tmp_path, disparity=((0, 0, 0),)).read()

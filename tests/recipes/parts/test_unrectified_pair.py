"""Pairs of two turned cameras with bending lenses, and their way back through rectification."""

import torch

from recipes.parts.rectification import remap, stereo_rectify
from recipes.parts.unrectified_pair import unrectified_pair


def test_rectification_brings_the_scene_back():
    for seed in range(3):
        pair = unrectified_pair(size=(96, 128), seed=seed)
        found = stereo_rectify(**pair.calibration, size=(128, 96))

        left, right = remap(pair.left, found.left_map()), remap(pair.right, found.right_map())

        # Two bilinear samplings blur; a shift by a single pixel would show far more.
        for back, truth in ((left, pair.rectified_left), (right, pair.rectified_right)):
            error = (back - truth)[:, 1:-1, 1:-1].abs().mean()
            shifted = (truth[:, 1:] - truth[:, :-1]).abs().mean()
            assert error < 0.012 and error < 0.5 * shifted


def test_the_raw_pair_is_neither_rectified_nor_the_same_for_another_seed():
    pair, other = unrectified_pair(size=(96, 128), seed=0), unrectified_pair(size=(96, 128), seed=1)

    assert (pair.left - pair.rectified_left).abs().mean() > 0.02
    assert not torch.equal(pair.left, other.left)
    assert (pair.calibration["R"] != other.calibration["R"]).any()


def test_no_camera_looks_beyond_the_scene():
    for seed in range(3):
        pair = unrectified_pair(size=(96, 128), seed=seed)
        assert (pair.left.amax(0) > 0).all() and (pair.right.amax(0) > 0).all()  # remap gives black outside

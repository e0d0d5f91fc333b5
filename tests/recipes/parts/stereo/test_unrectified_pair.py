"""Pairs of two turned cameras with bending lenses, and their way back through rectification."""

import torch

from recipes.parts.stereo.rectification import remap, stereo_rectify
from recipes.parts.stereo.unrectified_pair import unrectified_pair


def test_rectification_brings_the_scene_back():
    raw, back = 0.0, 0.0
    for seed in range(4):
        pair = unrectified_pair(size=(96, 128), seed=seed)
        found = stereo_rectify(**pair.calibration, size=(128, 96))
        for image, truth, places in (
            (pair.left, pair.rectified_left, found.left_map()),
            (pair.right, pair.rectified_right, found.right_map()),
        ):
            raw += (image - truth)[:, 1:-1, 1:-1].abs().mean().item() / 8
            back += (remap(image, places) - truth)[:, 1:-1, 1:-1].abs().mean().item() / 8

    assert raw > 0.03  # lens, turn and focal length do matter
    assert back < raw / 4  # what is left is the blur of two linear samplings


def test_another_seed_is_another_scene_through_other_cameras():
    pair, other = unrectified_pair(size=(96, 128), seed=0), unrectified_pair(size=(96, 128), seed=1)

    assert not torch.equal(pair.left, other.left)
    assert (pair.calibration["R"] != other.calibration["R"]).any()


def test_no_camera_looks_beyond_the_scene():
    for seed in range(3):
        pair = unrectified_pair(size=(96, 128), seed=seed)
        assert (pair.left.amax(0) > 0).all() and (pair.right.amax(0) > 0).all()  # remap gives black outside

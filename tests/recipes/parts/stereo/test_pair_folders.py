"""Pairs found by their names, with the scale their size tells."""

import numpy as np
import pytest
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.stereo.pair_folders import ANY_PAIR, MIDDLEBURY_2003, MIDDLEBURY_2006, MIDDLEBURY_2014, find_pairs


def write(folder, names, width=8, height=4):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.endswith(".pfm"):
            (folder / name).write_bytes(f"Pf\n{width} {height}\n-1\n".encode() + b"\0\0\x80?" * width * height)
        elif name.endswith(".npy"):
            np.save(folder / name, np.ones((height, width), dtype=np.float32))
        else:
            Image.new("RGB" if "disp" not in name and "GT" not in name else "L", (width, height), 8).save(folder / name)


@pytest.mark.parametrize(
    ("names", "recording"),
    [
        (["im2.png", "im6.png", "disp2.png", "disp6.png"], "."),
        (["view1.png", "view5.png", "disp1.png"], "."),
        (["im0.png", "im1.png", "disp0.pfm", "disp1.pfm"], "."),
        (["im0.png", "im1.png", "disp0GT.pfm"], "."),
        (["aloeL.jpg", "aloeR.jpg", "aloeGT.png"], "aloe"),
        (["left.png", "right.png", "disparity.npy"], "."),
        (["yard_left.png", "yard_right.jpg", "yard_disparity.pfm"], "yard"),
    ],
)
def test_any_naming_is_found_in_the_folder_itself(tmp_path, names, recording):
    write(tmp_path, names)
    (pair,) = find_pairs(tmp_path, ANY_PAIR)
    assert (pair.left.name, pair.right.name, pair.disparity.name) == tuple(names[:3])
    assert pair.recording == recording


@pytest.mark.parametrize(
    ("namings", "names", "width", "scale"),
    [
        (MIDDLEBURY_2003, ["im2.png", "im6.png", "disp2.png"], 450, 4),
        (MIDDLEBURY_2003, ["im2.png", "im6.png", "disp2.png"], 900, 2),
        (MIDDLEBURY_2003, ["im2.png", "im6.png", "disp2.png"], 1800, 1),
        (MIDDLEBURY_2006, ["view1.png", "view5.png", "disp1.png"], 427, 3),
        (MIDDLEBURY_2006, ["view1.png", "view5.png", "disp1.png"], 641, 2),
        (MIDDLEBURY_2006, ["view1.png", "view5.png", "disp1.png"], 1282, 1),
        (MIDDLEBURY_2014, ["im0.png", "im1.png", "disp0.pfm"], 2964, 1),
        (ANY_PAIR, ["left.png", "right.png", "disparity.png"], 450, 1),
    ],
)
def test_middleburys_scale_follows_from_the_pictures_width(tmp_path, namings, names, width, scale):
    write(tmp_path, names, width=width)
    assert [pair.scale for pair in find_pairs(tmp_path, namings)] == [scale]


def test_folders_are_recordings_and_both_calibrations_of_a_scene_are_one(tmp_path):
    for scene in ("train/Piano-perfect", "train/Piano-imperfect", "additional/Sword1-perfect"):
        write(tmp_path / scene, ["im0.png", "im1.png", "disp0.pfm"])
    pairs = find_pairs(tmp_path, MIDDLEBURY_2014)
    assert [pair.recording for pair in pairs] == ["additional/Sword1", "train/Piano", "train/Piano"]


def test_masks_of_what_both_eyes_see_are_found(tmp_path):
    write(tmp_path / "a", ["im2.png", "im6.png", "disp2.png", "cones_mask.png"])
    write(tmp_path / "b", ["im0.png", "im1.png", "disp0GT.pfm", "mask0nocc.png"])
    masks = [[(path.name, where) for path, where in pair.masks] for pair in find_pairs(tmp_path, ANY_PAIR)]
    assert masks == [[("cones_mask.png", "nonzero")], [("mask0nocc.png", "white")]]


def test_a_pair_without_its_right_picture_is_named(tmp_path):
    write(tmp_path, ["aloeL.jpg", "aloeGT.png"])
    with pytest.raises(DataError, match=r"aloeL.jpg has a disparity but no right picture 'aloeR' \(.png, .jpg ...\)"):
        find_pairs(tmp_path, ANY_PAIR)


def test_a_broken_picture_whose_size_is_asked_for_is_named(tmp_path):
    write(tmp_path, ["im2.png", "im6.png", "disp2.png"])
    (tmp_path / "im2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read .*im2.png"):
        find_pairs(tmp_path, MIDDLEBURY_2003)

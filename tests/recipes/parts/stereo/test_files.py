"""Files with known numbers come back as these numbers; broken ones are named."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.utils import _read_pfm

from recipes.parts.data_error import DataError
from recipes.parts.stereo.files import read_disparity, read_focal_baseline, read_mask, read_pfm

NAN, INF = float("nan"), float("inf")


def pfm(array, scale=-1.0):
    rows = np.asarray(array, dtype="<f4" if scale < 0 else ">f4")
    kind = "PF" if rows.ndim == 3 else "Pf"
    return f"{kind}\n{rows.shape[1]} {rows.shape[0]}\n{scale}\n".encode() + rows[::-1].tobytes()


@pytest.mark.parametrize("scale", [-1.0, 1.0])
def test_pfm_is_read_from_the_bottom_up_in_both_byte_orders(tmp_path, scale):
    path = tmp_path / "a.pfm"
    path.write_bytes(pfm([[1, 2, 3], [4, 5, 6.5]], scale))
    assert read_pfm(path).tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert np.array_equal(read_pfm(path), _read_pfm(path, slice_channels=1)[0])


def test_pfm_of_three_channels(tmp_path):
    path = tmp_path / "a.pfm"
    colours = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    path.write_bytes(pfm(colours))
    assert np.array_equal(read_pfm(path), colours)


@pytest.mark.parametrize(
    ("stored", "scale", "expected"),
    [
        (np.array([[0, 22, 220]], dtype=np.uint8), 4, [0, 5.5, 55]),  # Middlebury 2003
        (np.array([[0, 256, 40000]], dtype=np.uint16), 256, [0, 1, 156.25]),  # KITTI
        (np.array([[0, 0, 0], [7, 7, 7]], dtype=np.uint8).reshape(1, 2, 3), 1, [0, 7]),  # grey stored as colour
    ],
)
def test_disparities_in_pictures_are_divided_by_the_scale(tmp_path, stored, scale, expected):
    Image.fromarray(stored).save(tmp_path / "d.png")
    disparity = read_disparity(tmp_path / "d.png", scale=scale)
    assert disparity.dtype == torch.float32
    assert disparity.tolist() == [[expected]]


@pytest.mark.parametrize("suffix", [".pfm", ".npy"])
def test_unknown_disparities_are_zero_and_negative_ones_positive(tmp_path, suffix):
    path, values = tmp_path / f"d{suffix}", np.array([[NAN, INF, -INF, -2.5, 3.0]], dtype=np.float32)
    path.write_bytes(pfm(values)) if suffix == ".pfm" else np.save(path, values)
    assert read_disparity(path).tolist() == [[[0, 0, 0, 2.5, 3]]]


def test_sintel_packs_a_disparity_into_three_bytes(tmp_path):
    Image.fromarray(np.array([[[10, 32, 128]]], dtype=np.uint8)).save(tmp_path / "d.png")
    assert read_disparity(tmp_path / "d.png", packing="sintel").item() == 40 + 0.5 + 128 / 2**14


@pytest.mark.parametrize(
    ("where", "seen"),
    [("zero", [True, False, False]), ("nonzero", [False, True, True]), ("white", [False, False, True])],
)
def test_masks_say_in_their_own_way_what_both_eyes_see(tmp_path, where, seen):
    Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", where).tolist() == [[seen]]


KITTI_2012 = (
    "P0: 1 0 0 0 0 1 0 0 0 0 1 0\nP2: 700 0 600 4.5e+01 0 700 180 0 0 0 1 0\nP3: 700 0 600 -3.3e+02 0 7 1 0 0 0 1 0"
)
KITTI_2015 = (
    "calib_time: 09-Jan-2012 13:57:47\nP_rect_02: 7e+02 0 6 45 0 7 1 0 0 0 1 0\nP_rect_03: 7e2 0 6 -335 0 7 1 0 0 0 1 0"
)
MIDDLEBURY = "cam0=[1000.5 0 311.2; 0 1000.5 254.9; 0 0 1]\ncam1=[1 0 0; 0 1 0; 0 0 1]\ndoffs={}\nbaseline=200\nwidth=3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KITTI_2012, 375.0),
        (KITTI_2015, 380.0),
        (MIDDLEBURY.format(0), 200.1),
        (MIDDLEBURY.format(31.2), NAN),
        ("f 700", NAN),
    ],
)
def test_focal_length_times_baseline_from_calibration_texts(tmp_path, text, expected):
    (tmp_path / "calib.txt").write_text(text)
    assert read_focal_baseline(tmp_path / "calib.txt") == pytest.approx(expected, nan_ok=True)


def test_no_calibration_text_is_not_an_error_but_half_a_one_is(tmp_path):
    assert math.isnan(read_focal_baseline(None)) and math.isnan(read_focal_baseline(tmp_path / "calib.txt"))
    (tmp_path / "calib.txt").write_text("cam0=[1 0 0]")
    with pytest.raises(DataError, match=r"cannot read the calibration .*calib.txt: KeyError 'baseline'"):
        read_focal_baseline(tmp_path / "calib.txt")


def test_a_truncated_file_is_named(tmp_path):
    (tmp_path / "a.pfm").write_bytes(pfm(np.zeros((40, 40)))[:900])
    with pytest.raises(DataError, match=r"a.pfm: truncated, 886 bytes of pixels where 40x40 need 6400"):
        read_disparity(tmp_path / "a.pfm")


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path):
    for name in ("a.png", "a.npy", "a.pfm"):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            read_disparity(tmp_path / name)
        with pytest.raises(DataError, match=f"cannot read .*absent{name}"):
            read_disparity(tmp_path / f"absent{name}")


def test_a_coloured_disparity_map_is_named(tmp_path):
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour.png has shape \(2, 2, 3\); a disparity map has one number a pixel"):
        read_disparity(tmp_path / "colour.png")

"""Rectification against OpenCV's results, and against what it is for: equal rows, and f B / Z between the columns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from recipes.parts.data_error import DataError
from recipes.parts.stereo.lens_distortion import distort, undistort_points
from recipes.parts.stereo.rectification import load_calibration, rectify_depth, remap, stereo_rectify

CALIBRATION = Path(__file__).resolve().parents[4] / "../shared/data/stereo/calibration"
CAMERA = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
STRAIGHT = {
    "K1": CAMERA,
    "D1": np.zeros(5),
    "K2": CAMERA,
    "D2": np.zeros(5),
    "R": np.eye(3),
    "T": np.array([-0.1, 0, 0]),
}


@pytest.fixture(scope="module")
def opencv():
    if not CALIBRATION.is_dir():
        pytest.skip(f"no {CALIBRATION}")
    return np.load(CALIBRATION / "opencv_golden.npz")


@pytest.fixture(scope="module")
def rectification(opencv):
    return stereo_rectify(
        **load_calibration(CALIBRATION / "calibration.npz"), size=tuple(opencv["image_size"].tolist())
    )


@pytest.mark.parametrize(("name", "tolerance"), [("R1", 1e-12), ("R2", 1e-12), ("P1", 1e-5), ("P2", 1e-5), ("Q", 1e-5)])
def test_matrices_are_those_of_opencv(opencv, rectification, name, tolerance):
    # OpenCV rounds points to float32 on the way to the new camera matrix, hence 1e-5 of 520 px there.
    assert getattr(rectification, name) == pytest.approx(opencv[name], abs=tolerance)


def test_maps_are_those_of_opencv(opencv, rectification):
    for eye, pixels in (("1", rectification.left_map()), ("2", rectification.right_map())):
        for axis, name in enumerate("xy"):
            assert pixels[axis, ::20, ::20].numpy() == pytest.approx(opencv[f"map{eye}{name}"], abs=1e-3)


@pytest.mark.parametrize(("side", "tolerance"), [("left", 2e-3), ("right", 2e-2)])
def test_rectified_chessboard_corners_go_back_to_where_they_were_seen(opencv, rectification, side, tolerance):
    # The stored rectified corners come from OpenCV's five steps of undistorting: exact to 0.02 px on this lens.
    eye = {"left": "1", "right": "2"}[side]
    camera, lens, turn, projection = (getattr(rectification, name + eye) for name in "KDRP")
    corners = opencv[f"rect_{side}"].astype(float)
    rays = np.concatenate([(corners - projection[:2, 2]) / projection[0, 0], np.ones((*corners.shape[:2], 1))], axis=-1)
    rays = rays @ turn  # the inverse turn of each row
    x, _ = distort(rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2], lens)
    assert camera[0, 0] * x + camera[0, 2] == pytest.approx(opencv[f"corners_{side}"], abs=tolerance)


def seen(points, camera, lens):
    """Where a camera sees ``points`` [N,3] of its frame, px [N,2]."""
    x, y = distort(points[:, 0] / points[:, 2], points[:, 1] / points[:, 2], lens)
    return np.stack([camera[0, 0] * x + camera[0, 2], camera[1, 1] * y + camera[1, 2]], axis=-1)


def rectified(pixels, camera, lens, turn, projection):
    rays = undistort_points(pixels, camera, lens, steps=100)
    turned = np.concatenate([rays, np.ones((len(rays), 1))], axis=-1) @ turn.T
    return projection[0, 0] * turned[:, :2] / turned[:, 2:] + projection[:2, 2]


def between(low, high):
    return st.floats(low, high, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(
    focal=st.tuples(between(400, 900), between(400, 900)),
    centre=st.tuples(between(300, 340), between(225, 255)),
    bend=st.tuples(between(-0.2, 0.1), between(-0.05, 0.05), between(-2e-3, 2e-3), between(-2e-3, 2e-3)),
    turn=st.tuples(*[between(-0.08, 0.08)] * 3),
    shift=st.tuples(between(0.05, 0.3), between(-0.02, 0.02), between(-0.02, 0.02)),
    seed=st.integers(0, 99),
)
def test_rows_are_equal_and_columns_differ_by_focal_length_times_baseline_over_depth(
    focal, centre, bend, turn, shift, seed
):
    K1 = np.array([[focal[0], 0, centre[0]], [0, focal[0], centre[1]], [0, 0, 1]])
    K2 = np.array([[focal[1], 0, centre[1] + 80], [0, focal[1], centre[0] - 80], [0, 0, 1]])
    D1, D2 = np.array([*bend, 0.01]), np.array(bend[::-1]) * [0, 1, 1, 0.5]
    R, T = Rotation.from_rotvec(turn).as_matrix(), -np.array(shift)
    try:
        result = stereo_rectify(K1, D1, K2, D2, (640, 480), R, T)
    except ValueError as error:  # it may be turned and bent so far that no rectangle is left
        if "no rectangle of the picture is left" not in str(error):
            raise
        reject()

    draw = np.random.default_rng(seed)
    points = draw.uniform([-0.3, -0.25, 1.0], [0.3, 0.25, 1.0], (20, 3)) * draw.uniform(0.5, 8, (20, 1))
    left = rectified(seen(points, K1, D1), K1, D1, result.R1, result.P1)
    right = rectified(seen(points @ R.T + T, K2, D2), K2, D2, result.R2, result.P2)
    depth = (points @ result.R1.T)[:, 2]
    assert left[:, 1] == pytest.approx(right[:, 1], abs=1e-3)
    assert left[:, 0] - right[:, 0] == pytest.approx(result.focal_baseline / depth, abs=1e-3)
    assert result.focal_baseline == pytest.approx(result.P1[0, 0] * np.linalg.norm(T))
    # Q says the same: (x, y, d, 1) is a point of the rectified frame.
    x, y, z, w = result.Q @ np.stack([*left.T, left[:, 0] - right[:, 0], np.ones(20)])
    assert np.stack([x, y, z] / w) == pytest.approx((points @ result.R1.T).T, abs=1e-3)


def test_no_rectified_pixel_lies_outside_its_picture(rectification):
    for pixels in (rectification.left_map(), rectification.right_map()):
        assert pixels.min() > -1 and pixels[0].max() < 640 and pixels[1].max() < 480


def test_depth_is_turned_with_the_camera():
    # The pair looks along a wall's normal, 2 m away; the rig is yawed by 8 degrees, so R1 turns the left eye by 4.
    turn = Rotation.from_rotvec([0, np.radians(8), 0]).as_matrix()
    rectification = stereo_rectify(**{**STRAIGHT, "R": turn}, size=(640, 480))
    depth = rectify_depth(torch.full((1, 480, 640), 2.0), rectification)
    # The wall in the rectified frame: the points p with (R1^T p)_z = 2.
    x = (np.arange(640) - rectification.P1[0, 2]) / rectification.P1[0, 0]
    y = (np.arange(480) - rectification.P1[1, 2]) / rectification.P1[1, 1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((480, 640))])
    wanted = 2 / np.einsum("j,jhw->hw", rectification.R1[:, 2], rays)
    inside = depth[0].numpy() > 0
    assert inside.mean() > 0.95
    assert np.allclose(depth[0].numpy()[inside], wanted[inside], rtol=1e-6)
    assert abs(wanted - 2).max() > 0.1  # what would be wrong without


def test_an_aligned_rig_is_left_as_it_is():
    middle = np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
    rectification = stereo_rectify(**{**STRAIGHT, "K1": middle, "K2": middle}, size=(640, 480))
    image = torch.randint(0, 255, (3, 480, 640), dtype=torch.uint8)
    assert rectification.focal_baseline == pytest.approx(50)
    assert torch.equal(remap(image, rectification.left_map()), image)


def test_remap_between_pixels_and_outside():
    image = torch.tensor([[[0.0, 10.0], [20.0, 30.0]]])
    pixels = torch.tensor([[[0.5, 1.0, 0.4, 5.0]], [[0.5, 0.5, 0.0, 0.0]]])
    assert remap(image, pixels)[0, 0].tolist() == pytest.approx([15, 20, 4, 0], abs=1e-4)
    assert remap(image, pixels, mode="nearest")[0, 0].tolist() == [0, 10, 0, 0]
    with pytest.raises(ValueError, match="mode is 'cubic'; it can be 'bilinear' or 'nearest'"):
        remap(image, pixels, mode="cubic")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T": np.array([0.1, 0, 0])}, "T puts camera 2 to the left of camera 1"),
        ({"T": np.array([0.0, -0.1, 0])}, "T puts the cameras one above the other"),
        ({"K2": np.diag([2.0, 2, 1]) @ CAMERA}, "K2 has its centre at 640, 480, outside a picture of 640x480 px"),
    ],
)
def test_a_rig_that_cannot_be_rectified_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        stereo_rectify(**{**STRAIGHT, **change}, size=(640, 480))


def test_a_calibration_comes_back_from_its_file(tmp_path):
    path = tmp_path / "calibration.npz"
    np.savez(path, **{**STRAIGHT, "T": [[-0.1], [0], [0]], "D1": [[1, 2, 3, 4]], "rms": 0.3, "note": "by hand"})
    calibration = load_calibration(path)
    assert list(calibration["T"]) == [-0.1, 0, 0] and list(calibration["D1"]) == [1, 2, 3, 4]
    assert sorted(calibration) == ["D1", "D2", "K1", "K2", "R", "T"]


def test_a_calibration_with_problems_says_all_of_them(tmp_path):
    path = tmp_path / "calibration.npz"
    np.savez(path, K1=np.eye(4), D1=np.zeros(3), K2=CAMERA, R=np.full((3, 3), np.nan), T=[-0.1, 0, 0])
    with pytest.raises(DataError) as error:
        load_calibration(path)
    assert str(error.value) == (
        f"the calibration {path} needs the keys K1 D1 K2 D2 R T: 'K1' has shape (4, 4), not shape (3, 3); "
        "'D1' has shape (3,), not 4, 5 or 8 numbers; no 'D2' (found: D1, K1, K2, R, T); "
        "'R' has numbers that are not finite"
    )


@pytest.mark.parametrize("content", [b"", b"K1: 1 2 3", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_calibration_is_named(tmp_path, content):
    path = tmp_path / "calibration.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot read the calibration .*calibration.npz"):
        load_calibration(path)
    with pytest.raises(DataError, match=r"cannot read the calibration .*absent.npz"):
        load_calibration(tmp_path / "absent.npz")

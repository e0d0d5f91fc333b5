"""A made-up rig in front of a made-up room: disparity must be what both rectified cameras would see."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from recipes.parts.data_error import DataError
from recipes.parts.stereo.datasets import stereo_dataset
from recipes.parts.stereo.realsense import find_frames, read_depth, usable_disparity
from recipes.parts.warping import warp_disparity

H, W = 96, 128
K1 = np.array([[120.0, 0, 64], [0, 120, 48], [0, 0, 1]])
K2 = np.array([[125.0, 0, 62], [0, 125, 47], [0, 0, 1]])
TURN = Rotation.from_rotvec([0.01, 0.06, -0.02]).as_matrix()
SHIFT = np.array([-0.15, 0.004, 0.003])
WALL = 1.5  # m in front of the left camera


def write_run(root, run, frames=2, *, png=False, metres=False):
    """A textured wall seen by both cameras; no lens distortion, so that the right picture is an exact function."""

    def texture(x, y):
        wave = np.sin(9 * x + 1) + np.sin(7 * y + 3 * x) + np.sin(11 * y - 4 * x)
        return np.stack([127 + 40 * wave, 127 - 40 * wave, 127 + 20 * wave], axis=-1).round().astype(np.uint8)

    columns, rows = np.meshgrid(np.arange(W), np.arange(H))
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(float)
    left = texture(*np.moveaxis((pixels @ np.linalg.inv(K1).T * WALL)[..., :2], -1, 0))
    rays, centre = pixels @ np.linalg.inv(K2).T @ TURN, -TURN.T @ SHIFT  # of the right camera, in the left one's frame
    hit = centre + rays * ((WALL - centre[2]) / rays[..., 2:])
    right = texture(hit[..., 0], hit[..., 1])
    depth = np.full((H, W), WALL, dtype=np.float32) if metres else np.full((H, W), WALL * 1000, dtype=np.uint16)
    for frame in range(1, frames + 1):
        folder = root / run / f"{frame:06d}"
        folder.mkdir(parents=True)
        if png:
            Image.fromarray(left).save(folder / "left.png")
            Image.fromarray(right).save(folder / "right.png")
        else:
            np.save(folder / "color.npy", left)
            np.save(folder / "right.npy", right)
        np.save(folder / "depth.npy", depth)
    return root


def write_calibration(path, **change):
    np.savez(
        path, **{"K1": K1, "D1": np.zeros(5), "K2": K2, "D2": np.zeros(5), "R": TURN, "T": SHIFT[:, None], **change}
    )
    return path


@pytest.fixture
def recordings(tmp_path):
    write_calibration(tmp_path / "calibration.npz")
    write_run(tmp_path, "run_1")
    write_run(tmp_path, "run_2", png=True, metres=True)
    return tmp_path


def test_disparity_moves_the_right_picture_onto_the_left_one(recordings):
    sample = stereo_dataset("realsense", recordings, split="all")[0]
    moved = warp_disparity(sample["right"][None], sample["disparity"][None])[0]
    visible = sample["visible"].expand(3, -1, -1)
    assert visible.float().mean() > 0.25
    off = (moved - sample["left"]).abs()[visible].mean() * 255
    unmoved = (sample["right"] - sample["left"]).abs()[visible].mean() * 255
    assert unmoved > 20 and off < 1.0  # 8-bit units; rounding and two interpolations remain


def test_depth_from_the_disparity_is_that_of_the_wall_in_the_turned_frame(recordings):
    sample = stereo_dataset("realsense", recordings, split="all")[0]
    depth = sample["focal_baseline"] / sample["disparity"]
    known = sample["disparity"] > 0
    assert known.float().mean() > 0.99
    # R1 turns the wall, so it is nearer on one side: 1.5 m everywhere is what a map without the turn would say.
    assert depth[known].min() < 1.49 and depth[known].max() > 1.51
    assert depth[0, H // 2, W // 2] == pytest.approx(1.5, abs=0.03)


def test_millimetres_and_metres_npy_and_png_are_the_same(recordings):
    data = stereo_dataset("realsense", recordings, split="all")
    assert data.recordings == ["run_1", "run_1", "run_2", "run_2"]
    for name, value in data[0].items():
        assert torch.allclose(value, data[2][name])


def test_whole_runs_are_split_and_one_run_says_what_to_do(recordings):
    train, val = (stereo_dataset("realsense", recordings, split=split) for split in ("train", "val"))
    assert len(train) == len(val) == 2
    assert set(train.recordings) | set(val.recordings) == {"run_1", "run_2"}
    shutil.rmtree(recordings / "run_2")
    with pytest.raises(DataError, match=r"realsense under .* has only one recording \(run_1\).*Record a second one"):
        stereo_dataset("realsense", recordings, split="train")
    assert stereo_dataset("realsense", recordings / "run_1", split="all").recordings == [".", "."]


def test_the_calibration_is_the_one_npz_of_the_root_or_the_one_named(recordings, tmp_path_factory):
    other = (recordings / "calibration.npz").rename(recordings / "rig_7.npz")
    assert {frame.calibration for frame in find_frames(recordings)} == {other}
    elsewhere = other.rename(tmp_path_factory.mktemp("calibration") / "mine.npz")
    assert stereo_dataset("realsense", recordings, split="all", calibration=elsewhere)[0]["valid"].any()
    with pytest.raises(DataError, match=r"sample 0 of realsense 'all': no calibration .*calibration.npz. Put it there"):
        stereo_dataset("realsense", recordings, split="all")[0]


def test_a_frame_that_lacks_a_file_is_named(recordings):
    (recordings / "run_1" / "000002" / "right.npy").unlink()
    with pytest.raises(DataError, match=r"run_1/000002 has no right.npy or right.png. Complete this frame, or remove"):
        stereo_dataset("realsense", recordings)


def test_a_frame_of_another_size_is_named(recordings):
    np.save(recordings / "run_1" / "000001" / "right.npy", np.zeros((H, W + 2, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"color.npy is 128x96 and .*right.npy is 130x96 px; they must be of one size"):
        stereo_dataset("realsense", recordings, split="all")[0]


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((H, W), dtype=np.uint16), "depth.npy has no valid disparity: 0% of it has a depth"),
        (np.full((H, W), 20.0), "depth.npy has no valid disparity: 100% of it has a depth, none of that is usable"),
        (np.zeros((H, W), dtype=np.uint8), r"depth.npy is uint8 \(96, 128\); depth is uint16 mm or float m"),
    ],
)
def test_a_depth_map_of_no_use_is_named(recordings, depth, message):
    np.save(recordings / "run_1" / "000001" / "depth.npy", depth)
    with pytest.raises(DataError, match=rf"sample 0 of realsense 'all': .*{message}"):
        stereo_dataset("realsense", recordings, split="all")[0]


def test_a_calibration_that_does_not_fit_is_named(recordings):
    path = write_calibration(recordings / "run_1" / "other.npz", T=-SHIFT)
    with pytest.raises(DataError, match=r"other.npz cannot rectify 128x96 px: T puts camera 2 to the left of camera 1"):
        stereo_dataset("realsense", recordings, split="all", calibration=path)[0]


def test_depth_is_metres_and_unknown_is_zero(tmp_path):
    np.save(tmp_path / "mm.npy", np.array([[0, 1500, 65535]], dtype=np.uint16))
    np.save(tmp_path / "m.npy", np.array([[np.nan, -1, np.inf, 1.5]])[..., None])
    assert read_depth(tmp_path / "mm.npy")[0, 0].tolist() == pytest.approx([0, 1.5, 65.535])
    assert read_depth(tmp_path / "m.npy")[0, 0].tolist() == [0, 0, 0, 1.5]


def usable(disparity, **more):
    return usable_disparity(disparity, 100.0, **{"edge": 0, "jump": 1e9, "outliers": 0.0, **more})


def test_range_edge_and_unknown_pixels_are_not_usable():
    row = torch.tensor([0.0, 9.99, 10.0, 100.0, 333.3, 334.0, float("nan"), float("inf")]).view(1, 1, -1)
    assert usable(row)[0, 0].tolist() == [False, False, True, True, True, False, False, False]  # 10 m .. 0.3 m
    inner = usable(torch.full((1, 50, 60), 20.0), edge=20)[0]
    assert inner.sum() == 10 * 20 and inner[20:30, 20:40].all()


def test_both_sides_of_a_jump_and_the_rim_of_a_hole_are_not_usable():
    step = torch.full((1, 9, 12), 20.0)
    step[..., 6:] = 21.5
    assert usable(step, jump=1.0)[0, 4].nonzero().flatten().tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    slope = 20 + 0.45 * torch.arange(12.0).expand(1, 9, 12)  # 0.9 px between the neighbours: a slanted surface
    assert usable(slope, jump=1.0)[0, 1:-1, 1:-1].all()
    hole = torch.full((1, 9, 12), 20.0)
    hole[0, 4, 6] = 0
    assert (~usable(hole, jump=1.0)[0, 1:-1, 1:-1]).nonzero().tolist() == [[2, 5], [3, 4], [3, 5], [3, 6], [4, 5]]


def test_the_largest_half_percent_is_not_usable():
    disparity = 20 + torch.arange(1000.0).view(1, 20, 50) / 10
    kept = usable(disparity, outliers=0.005)
    assert kept.sum() == 995 and not kept[0, -1, -5:].any()

"""Each data set's layout on disk, in small; where torchvision reads it rightly, the samples are the same."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from recipes.parts.data_error import DataError
from recipes.parts.stereo.datasets import stereo_dataset
from recipes.parts.stereo.layouts import LAYOUTS

DRAW = np.random.default_rng(0)
H, W = 12, 16


def write(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pfm":
        rows = DRAW.uniform(-20, -1, (H, W)).astype("<f4")
        rows[0, 0] = np.inf
        path.write_bytes(f"Pf\n{W} {H}\n-1\n".encode() + rows.tobytes())
    else:
        high, shape, dtype = {"colour": (255, (H, W, 3), np.uint8), "deep": (5000, (H, W), np.uint16),
                              "mask": (2, (H, W), np.uint8), "packed": (255, (H, W, 3), np.uint8)}[kind]  # fmt: skip
        values = DRAW.integers(0, high, shape).astype(dtype)
        Image.fromarray(values * 255 if kind == "mask" else values).save(path)


def scene_flow(root):
    for name in ("a/{}/0001", "a/{}/0002", "b/{}/0001"):
        for eye in ("left", "right"):
            write(root / f"SceneFlow/Monkaa/frames_cleanpass/{name.format(eye)}.png", "colour")
            write(root / f"SceneFlow/Monkaa/disparity/{name.format(eye)}.pfm", "pfm")


def kitti2012(root):
    for number in ("000000", "000011"):
        for kind, name in (("colored_0", f"{number}_10"), ("colored_1", f"{number}_10"), ("disp_noc", f"{number}_10")):
            write(root / f"Kitti2012/training/{kind}/{name}.png", "deep" if kind == "disp_noc" else "colour")


def kitti2015(root):
    for number in ("000000", "000011"):
        for kind in ("image_2", "image_3", "disp_occ_0", "disp_occ_1"):
            write(root / f"Kitti2015/training/{kind}/{number}_10.png", "deep" if "disp" in kind else "colour")


def eth3d(root):
    for scene in ("delivery", "forest"):
        for name in ("im0.png", "im1.png"):
            write(root / f"ETH3D/two_view_training/{scene}/{name}", "colour")
        write(root / f"ETH3D/two_view_training_gt/{scene}/disp0GT.pfm", "pfm")
        write(root / f"ETH3D/two_view_training_gt/{scene}/mask0nocc.png", "mask")


def crestereo(root):
    for scene in ("shapenet", "reflective", "tree", "hole"):
        for eye in ("left", "right"):
            write(root / f"CREStereo/{scene}/0_{eye}.jpg", "colour")
            write(root / f"CREStereo/{scene}/0_{eye}.disp.png", "deep")


def sintel(root):
    for frame in ("alley/1", "alley/2", "cave/1"):
        for kind, content in (("final_left", "colour"), ("final_right", "colour"), ("disparities", "packed"),
                              ("occlusions", "mask"), ("outofframe", "mask")):  # fmt: skip
            write(root / f"Sintel/training/{kind}/{frame}.png", content)


def middlebury2014(root):
    for scene in ("Piano-perfect", "Pipes-perfect"):
        for name in ("im0.png", "im1.png", "disp0.pfm", "disp1.pfm"):
            write(root / f"Middlebury2014/train/{scene}/{name}", name[-3:] if name.endswith("pfm") else "colour")


@pytest.mark.parametrize(
    ("name", "make", "torchvisions"),
    [
        ("monkaa", scene_flow, lambda root: datasets.SceneFlowStereo(root, variant="Monkaa")),
        ("scene_flow", scene_flow, lambda root: datasets.SceneFlowStereo(root, variant="Monkaa")),
        ("kitti2012", kitti2012, datasets.Kitti2012Stereo),
        ("kitti2015", kitti2015, datasets.Kitti2015Stereo),
        ("eth3d", eth3d, datasets.ETH3DStereo),
        ("crestereo", crestereo, datasets.CREStereo),
        ("sintel_stereo", sintel, datasets.SintelStereo),
        ("middlebury2014", middlebury2014, datasets.Middlebury2014Stereo),
    ],
)
def test_samples_are_those_of_torchvision(tmp_path, name, make, torchvisions):
    make(tmp_path)
    ours, theirs = stereo_dataset(name, tmp_path, split="all"), torchvisions(tmp_path)
    assert len(ours) == len(theirs) > 1
    # Both sort, but not all by the same thing: match them by the left picture.
    by_left = {ours[index]["left"].numpy().tobytes(): ours[index] for index in range(len(ours))}
    for left, right, disparity, *mask in (theirs[index] for index in range(len(theirs))):
        pixels = np.ascontiguousarray(np.asarray(left, dtype=np.float32).transpose(2, 0, 1)) / np.float32(255)
        sample = by_left[pixels.tobytes()]
        assert torch.equal((sample["right"] * 255).round(), torch.from_numpy(np.array(right)).permute(2, 0, 1).float())
        known = np.isfinite(disparity) & (disparity > 0)
        assert sample["valid"].numpy().tolist() == known.tolist()
        assert sample["disparity"].numpy()[known] == pytest.approx(disparity[known], rel=1e-6)
        if name in ("sintel_stereo", "eth3d"):
            inside = np.arange(W) >= disparity
            assert sample["visible"].numpy().tolist() == (mask[0][None] & known & inside).tolist()


def test_second_frames_of_kitti_2015_take_no_partners_away(tmp_path):
    kitti2015(tmp_path)
    for kind in ("image_2", "image_3"):
        for number in ("000000", "000011"):
            write(tmp_path / f"Kitti2015/training/{kind}/{number}_11.png", "colour")
    data = stereo_dataset("kitti2015", tmp_path, split="all")
    names = [(pair.left.name, pair.right.name, pair.disparity.name) for pair in data.sources]
    assert names == [("000000_10.png",) * 3, ("000011_10.png",) * 3]


def test_kitti_knows_its_focal_length_times_baseline_and_what_both_eyes_see(tmp_path):
    kitti2015(tmp_path)
    folder = tmp_path / "Kitti2015" / "training"
    write(folder / "disp_noc_0/000000_10.png", "mask")
    (folder / "calib_cam_to_cam").mkdir()
    (folder / "calib_cam_to_cam/000000.txt").write_text("P_rect_02: 721 0 0 44.9 0\nP_rect_03: 721 0 0 -339.5 0")
    first, second = stereo_dataset("kitti2015", tmp_path, split="all")
    assert first["focal_baseline"].item() == pytest.approx(384.4) and second["focal_baseline"].isnan()
    seen = np.asarray(Image.open(folder / "disp_noc_0/000000_10.png")) > 0
    assert (first["visible"][0].numpy() & ~seen).sum() == 0


def test_kittis_neighbouring_numbers_are_one_recording(tmp_path):
    for number in range(0, 30, 3):
        for kind in ("image_2", "image_3", "disp_occ_0"):
            write(tmp_path / f"training/{kind}/{number:06d}_10.png", "deep" if "disp" in kind else "colour")
    data = stereo_dataset("kitti2015", tmp_path, split="all")
    assert sorted(set(data.recordings)) == ["00000x", "00001x", "00002x"]


def things(root, *, rendering="frames_cleanpass"):
    for place in ("TRAIN/A/0000", "TRAIN/A/0001", "TRAIN/B/0000", "TEST/A/0000"):
        for eye in ("left", "right"):
            write(root / rendering / place / eye / "0006.png", "colour")
            write(root / "disparity" / place / eye / "0006.pfm", "pfm")


@pytest.mark.parametrize("folder", ["", "FlyingThings3D", "SceneFlow/FlyingThings3D"])
def test_flyingthings_test_scenes_are_kept_from_training(tmp_path, folder):
    things(tmp_path / folder)
    splits = {split: stereo_dataset("flyingthings3d", tmp_path, split=split).recordings
              for split in ("train", "val", "all", "test")}  # fmt: skip
    train = [f"FlyingThings3D/TRAIN/{scene}" for scene in ("A/0000", "A/0001", "B/0000")]
    assert splits["all"] == sorted(splits["train"] + splits["val"]) == train
    assert len(splits["val"]) == 1
    assert splits["test"] == ["FlyingThings3D/TEST/A/0000"]
    assert len(datasets.SceneFlowStereo(tmp_path)) == 4 if folder.startswith("SceneFlow") else True  # mixed there


def test_flyingthings_final_pass_is_a_data_set_of_its_own(tmp_path):
    things(tmp_path, rendering="frames_finalpass")
    assert len(stereo_dataset("flyingthings3d_final", tmp_path, split="all")) == 3
    with pytest.raises(
        DataError, match=r"8 files of 4 pairs are missing, the first is .*frames_cleanpass/TEST/A/0000/"
    ):
        stereo_dataset("flyingthings3d", tmp_path, split="all")


def test_driving_is_one_street_there_and_back(tmp_path):
    for place in ("15mm/scene_forwards/fast", "35mm/scene_forwards/slow", "15mm/scene_backwards/fast"):
        for eye in ("left", "right"):
            write(tmp_path / f"Driving/frames_cleanpass/{place}/{eye}/0001.png", "colour")
        write(tmp_path / f"Driving/disparity/{place}/left/0001.pfm", "pfm")
    data = stereo_dataset("driving", tmp_path, split="all")
    assert data.recordings == ["Driving/scene_backwards", "Driving/scene_forwards", "Driving/scene_forwards"]


def test_instereo2k_is_stored_times_100_and_has_a_test_part(tmp_path):
    for place in ("train/000000", "train/000001", "test/000000"):
        for name in ("left", "right", "left_disp", "right_disp"):
            write(tmp_path / "InStereo2k" / place / f"{name}.png", "deep" if "disp" in name else "colour")
    Image.fromarray(np.full((H, W), 2550, dtype=np.uint16)).save(tmp_path / "InStereo2k/test/000000/left_disp.png")
    test = stereo_dataset("instereo2k", tmp_path, split="test")
    assert len(test) == 1 and len(stereo_dataset("instereo2k", tmp_path, split="all")) == 2
    assert test[0]["disparity"].unique().tolist() == [25.5]


def test_every_layout_says_what_it_expects():
    assert len(LAYOUTS) > 10
    assert all(len(layout.expected) > 30 for layout in LAYOUTS.values())

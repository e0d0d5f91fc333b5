"""Data sets by name: real pairs with known figures, splits, crops, and errors that say what to do."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.stereo.datasets import KNOWN, stereo_dataset
from recipes.parts.warping import warp_disparity

STEREO = Path(__file__).resolve().parents[4] / "../shared/data/stereo"


def real(folder):
    if not (STEREO / folder).is_dir():
        pytest.skip(f"no {STEREO / folder}")
    return STEREO / folder


@pytest.mark.parametrize(
    ("name", "folder", "shape", "median_error", "before", "after"),
    [
        ("middlebury2003", "middlebury_cones", (375, 450), 10.25, 43.6, 10.9),
        ("pairs", "middlebury_cones", (375, 450), 10.25, 43.6, 10.9),
        ("pairs", "aloe", (1110, 1282), 20.95, 35.7, 9.6),
    ],
)
def test_real_pairs_have_the_scale_and_the_direction_that_their_figures_tell(
    name, folder, shape, median_error, before, after
):
    (sample,) = stereo_dataset(name, real(folder), split="all")
    assert sample["left"].shape == (3, *shape)
    known = sample["disparity"][sample["valid"]]
    assert (known - np.median(known.numpy()).item()).abs().mean().item() == pytest.approx(median_error, abs=0.005)
    moved = warp_disparity(sample["right"][None], sample["disparity"][None], border=True)[0]
    valid = sample["valid"].expand(3, -1, -1)
    for right, expected in ((sample["right"], before), (moved, after)):
        error = (right - sample["left"]).abs()[valid].mean().item() * 255
        assert error == pytest.approx(expected, abs=0.05)  # 8-bit units


def test_cones_has_a_mask_of_what_both_eyes_see():
    (sample,) = stereo_dataset("middlebury2003", real("middlebury_cones"), split="all")
    assert 0.8 < (sample["visible"].sum() / sample["valid"].sum()).item() < 0.95
    assert not (sample["visible"] & ~sample["valid"]).any()


def write_scenes(root, sizes, *, disparity=8):
    for number, (width, height) in enumerate(sizes):
        folder = root / f"scene_{number}"
        folder.mkdir()
        for name in ("im2.png", "im6.png"):
            Image.new("RGB", (width, height), (number, 0, 0)).save(folder / name)
        Image.new("L", (width, height), disparity).save(folder / "disp2.png")
    return root


def test_pictures_of_several_sizes_become_crops_of_one(tmp_path):
    data = stereo_dataset("middlebury2003", write_scenes(tmp_path, [(40, 30), (20, 60)]), split="all", crop=(32, 32))
    batch = torch.utils.data.default_collate([data[0], data[1]])
    assert batch["left"].shape == (2, 3, 32, 32)
    assert batch["valid"].sum(dim=(1, 2, 3)).tolist() == [30 * 32, 32 * 20]
    assert batch["disparity"][batch["valid"]].unique().tolist() == [2.0]
    assert batch["focal_baseline"].isnan().all() and batch["focal_baseline"].shape == (2,)


def test_scenes_are_divided_and_the_division_stays(tmp_path):
    write_scenes(tmp_path, [(40, 30)] * 5)
    train, val = (stereo_dataset("pairs", tmp_path, split=split, val_share=0.4) for split in ("train", "val"))
    assert (len(train), len(val)) == (3, 2)
    assert set(train.recordings).isdisjoint(val.recordings)
    assert stereo_dataset("pairs", tmp_path, split="val", val_share=0.4).recordings == val.recordings


def test_the_scale_can_be_said(tmp_path):
    data = stereo_dataset("middlebury2003", write_scenes(tmp_path, [(40, 30)]), split="all", scale=8)
    assert data[0]["disparity"].unique().tolist() == [1.0]


def test_it_travels_to_loader_workers(tmp_path):
    data = stereo_dataset("pairs", write_scenes(tmp_path, [(40, 30)] * 2), split="all", crop=(8, 8))
    assert torch.equal(pickle.loads(pickle.dumps(data))[1]["right"], data[1]["right"][:, :8, :8])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "kitti"}, ValueError, r"no stereo data set 'kitti' \(known: crestereo, driving, eth3d, .*scene_flow"),
        ({"split": "valid"}, ValueError, "split is 'valid'; it can be 'train', 'val', 'all' or 'test'"),
        (
            {"split": "test"},
            DataError,
            "pairs has no test part under .*; all 2 pairs are those of split 'train', 'val'",
        ),
        ({"crop": (0, 8)}, ValueError, r"crop is \(0, 8\); it is \(height, width\) in px"),
        ({"calibration": "rig.npz"}, ValueError, r"pairs has no option 'calibration' \(it has: scale\)"),
        ({"val_share": 2}, ValueError, "val_share is 2"),
    ],
)
def test_wrong_arguments_say_what_is_right(tmp_path, change, error, message):
    write_scenes(tmp_path, [(40, 30)] * 2)
    with pytest.raises(error, match=message):
        stereo_dataset(**{"name": "pairs", "root": tmp_path, **change})


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_missing_or_an_empty_folder_is_named_with_the_layout_that_is_wanted(tmp_path, name):
    with pytest.raises(DataError, match=rf"no folder .*absent. {name} wants: .*\.(png|jpg|npy|npz)"):
        stereo_dataset(name, tmp_path / "absent")
    with pytest.raises(DataError, match=rf"no pairs under {tmp_path}. {name} wants: "):
        stereo_dataset(name, tmp_path)


def test_one_scene_cannot_be_divided(tmp_path):
    write_scenes(tmp_path, [(40, 30)])
    with pytest.raises(DataError, match=r"pairs under .* has only one recording \(scene_0\)"):
        stereo_dataset("pairs", tmp_path)


def test_a_broken_file_is_named_with_its_index(tmp_path):
    write_scenes(tmp_path, [(40, 30)] * 2)
    path = tmp_path / "scene_1" / "im6.png"
    path.write_bytes(path.read_bytes()[:60])
    data = stereo_dataset("pairs", tmp_path, split="all")
    assert data[0]["valid"].all()
    with pytest.raises(DataError, match=r"sample 1 of pairs 'all': cannot read .*scene_1/im6.png: "):
        data[1]


def test_a_sample_without_disparity_is_named_with_its_index(tmp_path):
    data = stereo_dataset("pairs", write_scenes(tmp_path, [(40, 30)], disparity=0), split="all")
    with pytest.raises(DataError, match=r"sample 0 of pairs 'all': .*disp2.png has no valid disparity"):
        data[0]

"""Cores as data: patches within their region, splits by core, cores of several sizes in a batch."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.staining.core import Window
from recipes.parts.staining.datasets import (
    CorePatches,
    WholeCores,
    collate_cores,
    procedural_parts,
    region,
    stored_parts,
)
from recipes.parts.staining.procedural_cores import ProceduralCore


class Places:
    """A core whose two markers are the row and the column."""

    id = "places"
    size = (40, 60)

    def read(self, window):
        top, left, height, width = window
        rows = torch.arange(top, top + height).view(-1, 1).expand(height, width)
        columns = torch.arange(left, left + width).expand(height, width)
        return {"target": torch.stack([rows, columns])}


def test_patches_lie_anywhere_in_their_region_and_nowhere_else():
    torch.manual_seed(0)
    data = CorePatches([(Places(), Window(5, 10, 20, 30))], size=8, each=500)
    patches = [data[index]["target"] for index in range(len(data))]

    assert len(data) == 500 and {tuple(patch.shape) for patch in patches} == {(2, 8, 8)}
    assert (min(p[0].min() for p in patches), max(p[0].max() for p in patches)) == (5, 24)
    assert (min(p[1].min() for p in patches), max(p[1].max() for p in patches)) == (10, 39)


def test_each_core_has_as_many_patches():
    parts = [(ProceduralCore(number, side=32), Window(0, 0, 32, 32)) for number in range(3)]
    data = CorePatches(parts, size=32, each=4)

    assert len(data) == 12 and len(WholeCores(parts)) == 3
    assert torch.equal(data[7]["target"], WholeCores(parts)[1]["target"])


def test_a_core_smaller_than_a_patch_is_told():
    with pytest.raises(DataError, match="places has 20 x 30 px to train on, and a patch 24 px"):
        CorePatches([(Places(), Window(0, 0, 20, 30))], size=24, each=1)


def test_procedural_cores_are_shared_out_and_none_twice():
    ids = {
        split: [core.id for core, _ in procedural_parts("procedural", split, cores=10, val_share=0.2, side=32)]
        for split in ("train", "val", "test")
    }

    assert [len(names) for names in ids.values()] == [8, 2, 2]
    assert len({name for names in ids.values() for name in names}) == 12


@given(st.integers(40, 400), st.integers(40, 400), st.floats(0.1, 0.5))
def test_the_regions_of_a_core_meet_and_do_not_overlap(height, width, share):
    train, val = (region((height, width), split, val_share=share) for split in ("train", "val"))

    assert train.height * train.width + val.height * val.width == height * width
    assert val.top == train.height or val.left == train.width
    assert val.height * val.width == pytest.approx(share * height * width, rel=0.1)


def cores(folder, names, splits=None):
    entries = []
    for number, name in enumerate(names):
        np.save(folder / f"core_{name}_HE.npy", np.zeros((48, 48, 3), np.uint8))
        np.save(folder / f"core_{name}_ORION.npy", np.full((2, 48, 48), number, np.uint8))
        entries.append({"id": name, "he": f"core_{name}_HE.npy", "target": f"core_{name}_ORION.npy"})
        if splits:
            entries[-1]["split"] = splits[number]
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


def ids(folder, split, shared=True):
    parts = stored_parts("cores", folder, split, channels=("a", "b"), shared=shared, val_share=0.25)
    return {core.id for core, _ in parts}


def test_stored_cores_go_to_one_split_as_a_whole(tmp_path):
    names = [f"c{number}" for number in range(8)]
    cores(tmp_path, names)
    train, val = ids(tmp_path, "train"), ids(tmp_path, "val")

    assert train | val == set(names) and not train & val and len(val) == 2
    assert ids(tmp_path, "val", shared=False) == set(names)  # another folder: all of it


def test_a_split_that_is_said_is_kept(tmp_path):
    cores(tmp_path, "abcd", ["val", "train", "test", "train"])

    assert [ids(tmp_path, split) for split in ("train", "val", "test")] == [{"b", "d"}, {"a"}, {"c"}]


def test_a_split_that_some_do_not_say_is_told(tmp_path):
    cores(tmp_path, "ab", ["val", None])
    with pytest.raises(DataError, match="b says no split, where others do"):
        ids(tmp_path, "train")


def test_a_core_alone_is_split_by_region(tmp_path):
    cores(tmp_path, "a")
    parts = [
        stored_parts("cores", tmp_path, split, channels=("a", "b"), shared=True, val_share=0.25)
        for split in ("train", "val")
    ]

    assert [[window for _, window in part] for part in parts] == [[Window(0, 0, 48, 36)], [Window(0, 36, 48, 12)]]


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("cores", "nowhere", "there is no folder"),
        ("cores", ".", r"no cores in .* cores wants: manifest.json"),
        ("hemit", ".", r"no cores in .* hemit wants: input/ and label/"),
        ("orion", ".", r"no data set 'orion' of cores \(known: cores, hemit, procedural, procedural_shifted\)"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, name, folder, words):
    with pytest.raises(ValueError, match=words):
        stored_parts(name, tmp_path / folder, "train", channels=("a",), shared=True, val_share=0.2)


def test_cores_of_several_sizes_are_padded_with_white_that_does_not_count():
    samples = [
        {
            "he": torch.zeros(3, h, w),
            "target": torch.full((2, h, w), 5.0),
            "valid": torch.ones(1, h, w, dtype=torch.bool),
        }
        for h, w in ((4, 6), (5, 3))
    ]
    batch = collate_cores(samples)

    assert batch["he"].shape == (2, 3, 5, 6) and batch["target"].shape == (2, 2, 5, 6)
    assert batch["he"][0, :, 4].unique().tolist() == [1.0] and batch["he"][1, :, :, 3:].unique().tolist() == [1.0]
    assert batch["valid"].sum((1, 2, 3)).tolist() == [24, 15]


def slides(folder, *names):
    for kind in ("input", "label"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (32, 32)).save(folder / kind / f"{name}.tif")


def parts_of(folder, split):
    return stored_parts("hemit", folder, split, channels=("a", "b", "c"), shared=True, val_share=0.34)


def test_patches_of_one_slide_stay_together(tmp_path):
    slides(tmp_path, "s1_0_0", "s1_0_32", "s2_0_0", "s2_0_32", "s3_0_0", "s3_0_32")
    train, val = ([core.id for core, _ in parts_of(tmp_path, split)] for split in ("train", "val"))

    assert len(train) == 4 and len(val) == 2 and not set(train) & set(val)


def test_patches_of_one_slide_alone_cannot_be_split(tmp_path):
    slides(tmp_path, "s1_0_0", "s1_0_32")
    with pytest.raises(DataError, match="patches of s1 alone; name another folder to validate on"):
        parts_of(tmp_path, "train")

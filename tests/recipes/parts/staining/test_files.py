"""Cores on disk: either order of the channels, masks, windows, and what is wrong told by the file's name."""

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.staining.core import Window
from recipes.parts.staining.files import open_core


def stored(folder, markers=None, he=None, name="core_A"):
    generator = np.random.default_rng(0)
    he = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8) if he is None else he
    markers = generator.integers(0, 60000, (4, 20, 30)).astype(np.uint16) if markers is None else markers
    paths = folder / f"{name}_HE.npy", folder / f"{name}_ORION.npy"
    for path, array in zip(paths, (he, markers)):
        np.save(path, array)
    return paths


def test_both_orders_of_the_channels_read_the_same(tmp_path):
    markers = np.arange(4 * 20 * 30, dtype=np.uint16).reshape(4, 20, 30)
    first = open_core(*stored(tmp_path, markers), id="a", count=4)
    last = open_core(*stored(tmp_path, markers.transpose(1, 2, 0), name="core_B"), id="b", count=4)
    window = Window(2, 5, 10, 12)

    assert (first.size, first.last, last.last) == ((20, 30), False, True)
    assert torch.equal(first.read(window)["target"], last.read(window)["target"])
    assert torch.equal(first.read(window)["target"], torch.from_numpy(markers[:, 2:12, 5:17].astype(np.float32)))


def test_a_square_core_as_wide_as_it_has_channels_goes_by_their_number(tmp_path):
    he = np.zeros((8, 8, 3), np.uint8)
    last = open_core(*stored(tmp_path, np.zeros((8, 8, 4), np.uint8), he), id="a", count=4)
    first = open_core(*stored(tmp_path, np.zeros((4, 8, 8), np.uint8), he, "core_B"), id="b", count=4)

    assert (last.last, first.last) == (True, False)


def test_a_sample_has_the_picture_in_0_to_1_and_all_pixels_valid(tmp_path):
    he_path, target = stored(tmp_path)
    sample = open_core(he_path, target, id="a", count=4).read(Window(0, 0, 20, 30))

    assert {name: (tuple(value.shape), value.dtype) for name, value in sample.items()} == {
        "he": ((3, 20, 30), torch.float32), "target": ((4, 20, 30), torch.float32), "valid": ((1, 20, 30), torch.bool),
    }  # fmt: skip
    assert torch.equal((sample["he"] * 255).round().byte(), torch.from_numpy(np.load(he_path).transpose(2, 0, 1)))
    assert sample["valid"].all()


def test_channels_are_chosen_and_masks_are_read(tmp_path):
    paths = stored(tmp_path)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    core = open_core(*paths, id="a", count=4, channels=(2, 0), mask=tmp_path / "mask.png")
    sample = core.read(Window(4, 0, 3, 30))

    assert np.array_equal(sample["target"].numpy(), np.load(paths[1])[[2, 0], 4:7].astype(np.float32))
    assert sample["valid"][0, :, 0].tolist() == [False, True, True]


def test_pictures_are_read_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    for name in ("in.tif", "out.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
    core = open_core(tmp_path / "in.tif", tmp_path / "out.tif", id="a", count=3)

    assert core.last
    assert np.array_equal(core.read(Window(0, 0, 16, 12))["target"].numpy(), pixels.transpose(2, 0, 1))


def damaged(folder, damage):
    he = np.zeros((20, 30, 3), np.uint8)
    markers = np.zeros((4, 20, 30), np.float32)
    if damage == "another size":
        markers = np.zeros((4, 20, 31), np.float32)
    elif damage == "another count":
        markers = np.zeros((5, 20, 30), np.float32)
    elif damage == "not finite":
        markers[2, 3, 4] = np.nan
    elif damage == "no picture":
        he = np.zeros((20, 30), np.uint8)
    elif damage == "text":
        markers = np.full((4, 20, 30), "x")
    paths = stored(folder, markers, he)
    if damage == "truncated":
        paths[1].write_bytes(paths[1].read_bytes()[:-100])
    elif damage == "missing":
        paths[1].unlink()
    elif damage == "empty":
        paths[1].write_bytes(b"")
    return paths


@pytest.mark.parametrize(
    ("damage", "culprit", "words"),
    [
        ("another size", 1, "they must be of one size"),
        ("another count", 1, "has 5 channels where 4 are named; say recipe.channels"),
        ("not finite", 1, "holds values that are not finite"),
        ("no picture", 0, "an H&E picture is uint8 with shape (height, width, 3)"),
        ("text", 1, "markers are numbers"),
        ("truncated", 1, "cannot read"),
        ("empty", 1, "cannot read"),
        ("missing", 1, "there is no"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(tmp_path, damage, culprit, words):
    paths = damaged(tmp_path, damage)
    with pytest.raises(DataError) as error:
        open_core(*paths, id="a", count=4)

    assert str(paths[culprit]) in str(error.value) and words in str(error.value)


def test_a_file_that_goes_bad_later_is_named_where_it_is_read(tmp_path):
    paths = damaged(tmp_path, "nothing")
    core = open_core(*paths, id="a", count=4)
    np.save(paths[1], np.full((4, 20, 30), np.inf, np.float32))
    with pytest.raises(ValueError, match="core_A_ORION.npy holds values that are not finite"):
        core.read(Window(0, 0, 4, 4))
    paths[0].unlink()
    with pytest.raises(ValueError, match="cannot read .*core_A_HE.npy"):
        core.read(Window(0, 0, 4, 4))


def test_a_mask_of_another_size_is_told(tmp_path):
    Image.new("L", (20, 20)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="mask.png is 20 x 20 px, and .*core_A_HE.npy is 20 x 30 px"):
        open_core(*stored(tmp_path), id="a", count=4, mask=tmp_path / "mask.png")

"""Pictures with known pixels come back as these pixels; broken ones are named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.image_files import read_array, read_image, require_one_size


def test_a_picture_is_red_green_blue_from_any_mode(tmp_path):
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.save(tmp_path / "rgb.npy", pixels)
    assert read_image(tmp_path / "rgb.png").tolist() == [[[1, 4]], [[2, 5]], [[3, 6]]]
    assert torch.equal(read_image(tmp_path / "rgb.npy"), read_image(tmp_path / "rgb.png"))
    assert read_image(tmp_path / "grey.png").tolist() == [[[1, 4]]] * 3


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def test_a_truncated_file_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    np.save(tmp_path / "a.npy", noise)
    for name in ("a.png", "a.jpg", "a.npy"):
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            read_image(cut(tmp_path / name, 900))


@pytest.mark.parametrize("read", [read_array, read_image])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, read):
    for name in ("a.png", "a.npy"):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            read(tmp_path / name)
        with pytest.raises(DataError, match=f"cannot read .*absent{name}"):
            read(tmp_path / f"absent{name}")


def test_wrong_kinds_of_numbers_are_named(tmp_path):
    np.save(tmp_path / "float.npy", np.zeros((4, 4, 3), dtype=np.float32))
    with pytest.raises(DataError, match=r"float.npy is float32 \(4, 4, 3\); a picture is uint8"):
        read_image(tmp_path / "float.npy")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png is uint16 \(4, 4\); a picture is uint8"):
        read_image(tmp_path / "deep.png")


def test_two_files_of_different_sizes_are_named_with_both_sizes():
    shapes = {"a.png": (3, 2, 4), "b.png": (1, 2, 4), "c.png": (3, 5, 4)}
    maps = {Path(name): torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(DataError, match=r"a.png is 4x2 and c.png is 4x5 px; they must be of one size"):
        require_one_size(maps)

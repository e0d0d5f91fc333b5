import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.detection.boxed_picture import BoxedPicture, NamedBox

CLASSES = {"cat": 0, "dog": 1}


def write(path, width=40, height=20):
    Image.fromarray(np.full((height, width, 3), 51, np.uint8)).save(path)
    return path


def box(name, *corners, crowd=False):
    return NamedBox(name, corners, "a.json: annotation 7", crowd)


def test_boxes_are_scaled_with_the_picture(tmp_path):
    boxes = (box("dog", 10.0, 4.0, 30.0, 12.0), box("cat", 0.0, 0.0, 40.0, 20.0, crowd=True))
    sample = BoxedPicture(write(tmp_path / "a.png"), boxes, (40, 20)).sample(CLASSES, (20, 10))
    assert sample["image"].shape == (3, 10, 20)
    assert sample["image"].unique().tolist() == pytest.approx([0.2])
    assert sample["boxes"].tolist() == [[5, 2, 15, 6], [0, 0, 20, 10]]
    assert sample["labels"].tolist() == [1, 0]
    assert sample["crowd"].tolist() == [False, True]
    assert sample["scale"].tolist() == [2, 2]


def test_what_is_outside_is_cut_and_what_has_no_area_is_left_out(tmp_path):
    boxes = [box("cat", -5.0, -5.0, 10.0, 10.0), box("cat", 3.0, 3.0, 3.0, 9.0), box("dog", 50.0, 0.0, 60.0, 9.0)]
    sample = BoxedPicture(write(tmp_path / "a.png"), [*boxes, box("cow", 0.0, 0.0, 5.0, 5.0)]).sample(CLASSES)
    assert sample["boxes"].tolist() == [[0, 0, 10, 10]]


def test_a_window_moves_boxes_and_drops_those_that_are_mostly_outside(tmp_path):
    boxes = [box("cat", 8.0, 0.0, 28.0, 10.0), box("dog", 0.0, 0.0, 13.0, 10.0)]  # 18/20 and 3/13 of it inside
    sample = BoxedPicture(write(tmp_path / "a.png"), boxes).sample(CLASSES, (40, 20), (10, 0, 30, 10))
    assert sample["boxes"].tolist() == [[0, 0, 36, 20]]
    assert sample["scale"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "corners", [(float("nan"), 0.0, 1.0, 1.0), (0.0, 0.0, float("inf"), 1.0), (5.0, 0.0, 4.0, 1.0)]
)
def test_a_box_that_is_none_is_named(corners):
    with pytest.raises(DataError, match="annotation 7"):
        box("cat", *corners)


def test_bad_pictures_are_named(tmp_path):
    good = write(tmp_path / "good.png")
    with pytest.raises(DataError, match=r"good\.png: has 40 x 20 px, and 41 x 20 px in its annotations"):
        BoxedPicture(good, size=(41, 20)).sample(CLASSES)
    with pytest.raises(DataError, match=r"none\.png: cannot be read as a picture: No such file"):
        BoxedPicture(tmp_path / "none.png").sample(CLASSES)
    for suffix in ("png", "jpg"):
        cut = write(tmp_path / f"cut.{suffix}", 200, 200)
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
        with pytest.raises(DataError, match=rf"cut\.{suffix}: cannot be read as a picture"):
            BoxedPicture(cut).sample(CLASSES)


def test_grey_pictures_have_three_colours(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "grey.png")
    assert torch.equal(BoxedPicture(tmp_path / "grey.png").sample({})["image"], torch.zeros(3, 8, 8))

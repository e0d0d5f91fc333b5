import json

import numpy as np
import pytest
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.detection.datasets import KNOWN, describe_samples, detection_dataset
from recipes.parts.detection.procedural_shapes import SHAPES, ProceduralShapes


@pytest.fixture
def coco(tmp_path):
    boxes = [(1, 1, [2, 2, 10, 10], 0), (2, 1, [30, 10, 20, 20], 0), (3, 2, [4, 4, 0, 3], 0), (4, 2, [0, 0, 9, 9], 1)]
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": category, "bbox": box, "iscrowd": crowd}
            for number, category, box, crowd in boxes
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    for number in (1, 2):
        Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_pictures_are_scaled_to_a_short_side_within_the_longest(coco):
    data = detection_dataset("coco", coco, classes=["cat", "dog"], short_sides=[40], longest=60)
    assert data[0]["image"].shape == (3, 30, 60)
    assert data[0]["boxes"].tolist() == [[3, 3, 18, 18], [45, 15, 60, 30], [0, 0, 13.5, 13.5]]
    assert data[1]["boxes"].shape == (0, 4)


def test_windows_keep_boxes_inside(coco):
    data = detection_dataset("coco", coco, classes=["cat", "dog"], crop=1.0)
    for _ in range(20):
        sample = data[0]
        height, width = sample["image"].shape[-2:]
        assert 10 <= height <= 20
        assert 20 <= width <= 40
        assert (sample["boxes"][:, 2] <= width).all()
        assert (sample["boxes"][:, 3] <= height).all()


def test_what_is_odd_is_counted(coco):
    data = detection_dataset("coco", coco, classes=["cat"], other_classes="leave_out")
    file = coco / "train.json"
    assert data.describe() == [
        "boxes: 4 (cat 2)",
        "pictures without boxes: 1; crowds: 1",
        "boxes of other classes, left out: 2",
        f"boxes without area, left out: 1, the first in {file}: annotation 3",
        f"boxes that reach outside, cut: 1, the first in {file}: annotation 2",
    ]


def test_a_picture_that_is_not_there_is_told_before_a_run_needs_it(coco):
    (coco / "2.png").unlink()
    lines = detection_dataset("coco", coco, classes=["cat", "dog"]).describe()
    assert lines[-1].startswith(f"pictures that cannot be opened: 1, the first in {coco / '2.png'}: ")


def test_drawn_data_is_described_by_its_samples():
    boxes, empty = describe_samples(ProceduralShapes(80, fixed=True), SHAPES)
    assert boxes.startswith("boxes of 64 samples: ")
    assert "disc" in boxes
    assert empty.startswith("pictures without boxes: ")


def test_a_class_that_is_not_asked_for_is_refused_by_name(coco):
    with pytest.raises(
        DataError, match=r"train\.json: annotation 3: class 'dog' is not in recipe\.classes \(cat\).*cat, dog"
    ):
        detection_dataset("coco", coco, classes=["cat"])


def test_names_and_folders_are_checked(tmp_path):
    with pytest.raises(ValueError, match=", ".join(sorted(KNOWN))):
        detection_dataset("cocoo", tmp_path, classes=["cat"])
    with pytest.raises(DataError, match="nowhere"):
        detection_dataset("coco", tmp_path / "nowhere", classes=["cat"])

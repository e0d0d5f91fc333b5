import json

import pytest

from recipes.parts.data_error import DataError
from recipes.parts.detection.coco_boxes import read_coco

CONTENT = {
    "images": [
        {"id": 4, "file_name": "a.jpg", "width": 40, "height": 20},
        {"id": 9, "file_name": "b.jpg", "width": 30, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": 4, "category_id": 90, "bbox": [1, 2, 10, 5], "iscrowd": 0},
        {"id": 2, "image_id": 4, "category_id": 3, "bbox": [0, 0, 4, 4], "iscrowd": 1},
        {"id": 3, "image_id": 4, "category_id": 3, "bbox": [5, 5, 0, 4]},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],  # ids with gaps
}


def write(root, change=lambda content: None, name="annotations/instances_train2017.json"):
    content = json.loads(json.dumps(CONTENT))
    change(content)
    file = root / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def test_crowds_empty_pictures_and_gaps_in_ids(tmp_path):
    write(tmp_path)
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "a.jpg").touch()
    first, second = read_coco(tmp_path, "train")
    assert first.path == tmp_path / "train2017" / "a.jpg"
    assert [(box.name, box.corners, box.crowd) for box in first.boxes] == [
        ("dog", (1, 2, 11, 7), False),
        ("cat", (0, 0, 4, 4), True),
        ("cat", (5, 5, 5, 9), False),
    ]
    assert first.size == (40, 20)
    assert second.boxes == ()


@pytest.mark.parametrize("name", ["instances_val.json", "val.json", "annotations/instances_val2017.json"])
def test_files_are_found_by_their_names(tmp_path, name):
    write(tmp_path, name=name)
    assert len(read_coco(tmp_path, "val")) == 2


def test_a_file_may_be_the_root(tmp_path):
    file = write(tmp_path, name="mine.json")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    assert read_coco(file, "test")[0].path == tmp_path / "images" / "a.jpg"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), "no list 'categories'"),
        (lambda c: c["annotations"][0].pop("bbox"), "annotation 1: has no 'bbox'"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "annotation 2: its bbox is"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, -3, 4]), "annotation 2: the box ends before it begins"),
        (lambda c: c["annotations"][2].update(category_id=4), "annotation 3: is of category 4"),
        (lambda c: c["annotations"][2].update(image_id=5), "annotation 3: is of image 5"),
        (lambda c: c["images"][1].pop("file_name"), "image 9: has no 'file_name'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_id(tmp_path, change, words):
    file = write(tmp_path, change)
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path, "train")
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)


def test_broken_json_names_its_line(tmp_path):
    (tmp_path / "train.json").write_text('{"images": [],\n oops}')
    with pytest.raises(DataError, match=r"train\.json:2: no json"):
        read_coco(tmp_path, "train")


def test_a_folder_without_annotations_says_what_is_wanted(tmp_path):
    with pytest.raises(DataError, match="instances_train2017"):
        read_coco(tmp_path, "train")

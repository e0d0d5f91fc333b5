import json
from pathlib import Path

import pytest

from recipes.parts.data_error import DataError
from recipes.parts.detection.coco_boxes import read_coco
from recipes.parts.detection.voc_boxes import read_voc

BCCD = Path(__file__).resolve().parents[4] / "../shared/data/detection/bccd"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>"


def write(root, name, *objects, size="<size><width>40</width><height>20</height></size>"):
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(exist_ok=True)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}\n{''.join(objects)}\n</annotation>")
    (root / "JPEGImages" / f"{name}.png").touch()


def test_objects_sizes_and_pictures(tmp_path):
    write(tmp_path, "a", OBJECT.format("cat", 1), OBJECT.format(" dog ", 2.5))
    write(tmp_path, "b")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("b\na\n\n")
    empty, full = read_voc(tmp_path, "val")
    assert empty.boxes == ()
    assert [(box.name, box.corners) for box in full.boxes] == [("cat", (1, 2, 9, 8)), ("dog", (2.5, 2, 9, 8))]
    assert full.size == (40, 20)
    assert full.path == tmp_path / "JPEGImages" / "a.png"


def test_without_lists_a_fifth_validates(tmp_path):
    for number in range(10):
        write(tmp_path, f"p{number}")
    train, val = ({picture.path.stem for picture in read_voc(tmp_path, split)} for split in ("train", "val"))
    assert len(val) == 2
    assert train | val == {f"p{number}" for number in range(10)}
    assert not train & val
    with pytest.raises(DataError, match=r"test\.txt: no such file"):
        read_voc(tmp_path, "test")


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([OBJECT.format("cat", 1), OBJECT.format("cat", "one")], "a.xml: object 2: xmin is 'one'"),
        ([OBJECT.format("", 1)], "a.xml: object 1: has no name"),
        (["<object><name>cat</name></object>"], "a.xml: object 1: has no bndbox"),
        ([OBJECT.format("cat", 10)], "a.xml: object 1: the box ends before it begins"),
        (["<object>"], "a.xml:3: no XML"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_object(tmp_path, objects, words):
    write(tmp_path, "a", *objects)
    write(tmp_path, "b")
    with pytest.raises(DataError) as caught:
        [*read_voc(tmp_path, "train"), *read_voc(tmp_path, "val")]
    assert words in str(caught.value)


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"needs {BCCD}")
def test_blood_cells_are_the_same_in_both_formats():
    for split, pictures, boxes in (("train", 205, 2804), ("val", 87, 1137)):
        voc, coco = read_voc(BCCD, split), read_coco(BCCD, split)
        assert len(voc) == len(coco) == pictures
        assert [picture.path for picture in voc] == [picture.path for picture in coco]
        own = [[(box.name, box.corners) for box in picture.boxes if box.area] for picture in voc]
        assert own == [[(box.name, box.corners) for box in picture.boxes] for picture in coco]
        assert sum(map(len, own)) == boxes
        content = json.loads((BCCD / f"instances_{split}.json").read_text())
        assert len(content["annotations"]) == boxes

import pytest

from recipes.parts.data_error import DataError
from recipes.parts.detection.vindr_boxes import read_vindr

HEAD = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
FOUND = "p1,Cardiomegaly,3,R1,1,2,9,8\np2,No finding,14,R1,,,,\np1,ILD,5,R2,0,0,5,5.5\n"
TABLE = HEAD + FOUND + "p3,No finding,14,R1,nan,nan,nan,nan\n"


def write(root, name="train.csv", text=TABLE):
    (root / name).write_text(text)
    (root / "train").mkdir(exist_ok=True)
    for picture in ("p1", "p2", "p3"):
        (root / "train" / f"{picture}.png").touch()


def test_lines_are_gathered_by_picture_and_nothing_found_is_a_picture_too(tmp_path):
    write(tmp_path)
    write(tmp_path, "val.csv", HEAD + "p3,No finding,14,R1,,,,\n")
    first, second, third = read_vindr(tmp_path, "train")
    assert [(box.name, box.corners) for box in first.boxes] == [("Cardiomegaly", (1, 2, 9, 8)), ("ILD", (0, 0, 5, 5.5))]
    assert second.boxes == third.boxes == ()
    assert first.path == tmp_path / "train" / "p1.png"
    assert [picture.path.stem for picture in read_vindr(tmp_path, "val")] == ["p3"]


def test_without_a_list_for_validation_train_is_divided(tmp_path):
    write(tmp_path)
    train, val = ([picture.path.stem for picture in read_vindr(tmp_path, split)] for split in ("train", "val"))
    assert sorted(train + val) == ["p1", "p2", "p3"]
    assert len(val) == 1
    assert len(read_vindr(tmp_path / "train.csv", "val")) == 3  # the file itself: all of it


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE + "p4,ILD,5,R1,1,2,x,4\n", "train.csv:6: expected four numbers"),
        (TABLE + "p4,ILD,5,R1,1,2,,4\n", "train.csv:6: expected four numbers"),
        (TABLE + "p4,ILD,5,R1,5,2,1,4\n", "train.csv:6: the box ends before it begins"),
        (TABLE + "p4,,5,R1,1,2,3,4\n", "train.csv:6: class_name is empty"),
        ("image_id,class_name,x_min,y_min,x_max\n", "train.csv:1: has no column 'y_max'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, text, words):
    write(tmp_path, text=text)
    with pytest.raises(DataError) as caught:
        read_vindr(tmp_path, "train")
    assert words in str(caught.value)


def test_a_missing_table_says_what_is_wanted(tmp_path):
    with pytest.raises(DataError, match="annotations_"):
        read_vindr(tmp_path, "train")

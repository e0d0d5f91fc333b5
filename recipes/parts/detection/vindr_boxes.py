"""Boxes in a csv, one in a line, as VinDr-CXR has them."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from recipes.parts.data_error import DataError
from recipes.parts.detection.boxed_picture import BoxedPicture, NamedBox
from recipes.parts.recordings import split_by_recording

EXPECTED = (
    "annotations_{train,val,test}.csv or {train,val,test}.csv (image_id, class_name, x_min, y_min, x_max, y_max; no "
    "numbers: nothing is found), and the pictures as png or jpg in train/, images/ or the folder itself; without a "
    "list for val a fifth of train's pictures validates; or the .csv alone as root"
)
COLUMNS = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
SUFFIXES = ("", ".png", ".jpg", ".jpeg")


def read_vindr(root: Path, split: str) -> list[BoxedPicture]:
    """The pictures of ``split`` in the order in which the csv first names them, those without findings too.

    A picture that several doctors have read has a line for each finding of each of them.

    Raises:
        DataError: a file is missing or wrong; the message names it and the line.
    """
    file, part = _table(root, split)
    boxes: dict[str, list[NamedBox]] = defaultdict(list)
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{file}:1: has no column {', '.join(map(repr, missing))}")
            for row in reader:
                found = boxes[_text(row["image_id"])]
                box = _box(row, f"{file}:{reader.line_num}")
                if box is not None:
                    found.append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    names = list(boxes)
    chosen = range(len(names)) if part == "all" else split_by_recording(names, part)
    return [BoxedPicture(_image(root, split, names[index]), tuple(boxes[names[index]])) for index in chosen]


def _box(row: dict[str, str], place: str) -> NamedBox | None:
    values = [_text(row[name]) for name in COLUMNS[2:]]
    if all(value.lower() in ("", "nan") for value in values):
        return None
    try:
        x1, y1, x2, y2 = map(float, values)
    except ValueError:
        raise DataError(f"{place}: expected four numbers in {', '.join(COLUMNS[2:])}, found {values}") from None
    if not _text(row["class_name"]):
        raise DataError(f"{place}: class_name is empty")
    return NamedBox(_text(row["class_name"]), (x1, y1, x2, y2), place)


def _text(value: str | None) -> str:
    return (value or "").strip()


def _table(root: Path, split: str) -> tuple[Path, str]:
    """The csv, and which part of its pictures is meant."""
    if root.is_file():
        return root, "all"
    own = _find(root, split)
    if own is not None:
        return own, "train" if split == "train" and _find(root, "val") is None else "all"
    train = _find(root, "train")
    if split == "val" and train is not None:
        return train, "val"
    raise DataError(f"{root}: no annotations of '{split}'. vindr wants: {EXPECTED}")


def _find(root: Path, split: str) -> Path | None:
    names = (f"annotations_{split}.csv", f"{split}.csv")
    paths = [folder / name for folder in (root / "annotations", root) for name in names]
    return next((path for path in paths if path.is_file()), None)


def _image(root: Path, split: str, name: str) -> Path:
    root = root.parent if root.is_file() else root
    folders = (root / split, root / "train", root / "images", root)
    paths = [folder / f"{name}{suffix}" for folder in folders for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), root / f"{name}.png")

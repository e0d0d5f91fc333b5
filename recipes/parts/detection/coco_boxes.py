"""Boxes in COCO's json."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.parts.data_error import DataError
from recipes.parts.detection.boxed_picture import BoxedPicture, NamedBox

EXPECTED = (
    "annotations/instances_train2017.json (or instances_train.json, train.json; also in the folder itself), and the "
    "pictures in train2017/, train/, images/, JPEGImages/ or the folder itself; or the .json alone as root"
)


def read_coco(root: Path, split: str) -> list[BoxedPicture]:
    """The pictures of ``split``, those without boxes too, in the order of the file.

    Category ids may have gaps: what counts is the category's name. A crowd is a box that stands for many objects.

    Raises:
        DataError: no such file, or one that is not COCO's; the message names the file, and the id of what is wrong.
    """
    file = root if root.is_file() else _annotations(root, split)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: no json: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: no json: not UTF-8 at byte {error.start}") from error
    missing = [key for key in ("images", "annotations", "categories") if not _is_list(content, key)]
    if missing:
        raise DataError(f"{file}: has no list {' and no list '.join(map(repr, missing))}, which COCO's files have")
    names = {_field(file, "category", row, "id"): str(_field(file, "category", row, "name"))
             for row in content["categories"]}  # fmt: skip
    known = {_field(file, "image", row, "id") for row in content["images"]}
    boxes: dict[Any, list[NamedBox]] = defaultdict(list)
    for row in content["annotations"]:
        image = _field(file, "annotation", row, "image_id")
        if image not in known:
            raise DataError(f"{_place(file, 'annotation', row)}: is of image {image}, and there is none of that id")
        boxes[image].append(_box(file, row, names))
    folder = _pictures(root, split, str(_field(file, "image", content["images"][0], "file_name"))) if known else root
    return [_picture(file, folder, row, boxes[row["id"]]) for row in content["images"]]


def _box(file: Path, row: Mapping[str, Any], names: Mapping[Any, str]) -> NamedBox:
    place = _place(file, "annotation", row)
    category = _field(file, "annotation", row, "category_id")
    if category not in names:
        raise DataError(f"{place}: is of category {category}, and there is none of that id")
    box = _field(file, "annotation", row, "bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
        raise DataError(f"{place}: its bbox is {box}; it must be four numbers: x, y, width, height")
    x, y, width, height = map(float, box)
    return NamedBox(names[category], (x, y, x + width, y + height), place, bool(row.get("iscrowd", 0)))


def _picture(file: Path, folder: Path, row: Mapping[str, Any], boxes: list[NamedBox]) -> BoxedPicture:
    size = (int(row["width"]), int(row["height"])) if "width" in row and "height" in row else None
    return BoxedPicture(folder / str(_field(file, "image", row, "file_name")), tuple(boxes), size)


def _annotations(root: Path, split: str) -> Path:
    folders = (root / "annotations", root)
    found = [path for folder in folders for path in sorted(folder.glob(f"instances_{split}*.json"))]
    found += [path for folder in folders for path in (folder / f"{split}.json",) if path.is_file()]
    if not found:
        raise DataError(f"{root}: no annotations of '{split}'. coco wants: {EXPECTED}")
    return found[0]


def _pictures(root: Path, split: str, name: str) -> Path:
    """The folder in which the first picture is."""
    root = root.parent if root.is_file() else root
    folders = [*sorted(root.glob(f"{split}*/")), root / "images", root / "JPEGImages", root, root.parent / "images"]
    return next((folder for folder in folders if (folder / name).is_file()), root)


def _field(file: Path, kind: str, row: Any, key: str) -> Any:
    if not isinstance(row, dict) or key not in row:
        raise DataError(f"{_place(file, kind, row)}: has no '{key}'")
    return row[key]


def _place(file: Path, kind: str, row: Any) -> str:
    return f"{file}: {kind} {row.get('id', '(without id)') if isinstance(row, dict) else row!r}"


def _is_list(content: Any, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), list)

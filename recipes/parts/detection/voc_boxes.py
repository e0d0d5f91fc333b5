"""Boxes in the XML files of Pascal VOC, one for a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree  # see _picture  # nosec B405

from recipes.parts.data_error import DataError
from recipes.parts.detection.boxed_picture import BoxedPicture, NamedBox
from recipes.parts.recordings import split_by_recording

EXPECTED = (
    "Annotations/NAME.xml, JPEGImages/NAME.jpg (or .png) and ImageSets/Main/{train,val,test}.txt; without the lists a "
    "fifth of the pictures validates"
)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".JPG", ".PNG")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: Path, split: str) -> list[BoxedPicture]:
    """The pictures of ``split`` in the order of its list, those without boxes too.

    Coordinates are taken as they are; those of VOC's own files begin at 1, a difference of one pixel. Objects that are
    marked as difficult are objects.

    Raises:
        DataError: a file is missing or wrong; the message names it, and the number of the object.
    """
    return [_picture(root, name) for name in _names(root, split)]


def _names(root: Path, split: str) -> list[str]:
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    if file.is_file():
        return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    names = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    if not names:
        raise DataError(f"{root}: no annotations. voc wants: {EXPECTED}")
    if split == "test":
        raise DataError(f"{file}: no such file, so it is unknown what the test part is")
    return [names[index] for index in split_by_recording(names, split)]


def _picture(root: Path, name: str) -> BoxedPicture:
    file = root / "Annotations" / f"{name}.xml"
    try:
        content = file.read_bytes()
        if b"<!ENTITY" in content:  # of which a few lines may unfold to gigabytes; no annotation has one
            raise DataError(f"{file}: declares entities, which no annotation does: refused")
        tree = ElementTree.fromstring(content)  # nothing to unfold or fetch  # nosec B314
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise DataError(f"{file}:{error.position[0]}: no XML: {error}") from error
    boxes = tuple(_box(item, f"{file}: object {number}") for number, item in enumerate(tree.iter("object"), start=1))
    size = tree.find("size")
    width, height = (int(_number(size, key, str(file))) for key in ("width", "height")) if size is not None else (0, 0)
    return BoxedPicture(_image(root, name), boxes, (width, height) if width and height else None)


def _box(item: ElementTree.Element, place: str) -> NamedBox:
    name, box = item.findtext("name"), item.find("bndbox")
    if not name or box is None:
        raise DataError(f"{place}: has no {'bndbox' if name else 'name'}")
    x1, y1, x2, y2 = (_number(box, key, place) for key in CORNERS)
    return NamedBox(name.strip(), (x1, y1, x2, y2), place)


def _number(item: ElementTree.Element, key: str, place: str) -> float:
    text = item.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{place}: {key} is {text!r}, which is no number") from None


def _image(root: Path, name: str) -> Path:
    paths = [root / "JPEGImages" / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])

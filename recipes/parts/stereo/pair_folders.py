"""Finding stereo pairs by their file names: Middlebury's of all years, and folders of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.stereo.files import VisibleWhere
from recipes.parts.stereo.pair import StereoPair

PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp")


class Naming(NamedTuple):
    """A pair's file names without their suffixes. {} is what several pairs in one folder are told apart by.

    ``scale`` is what a picture's numbers are divided by: one number, or by the left picture's smallest width for it.
    """

    disparity: str
    left: str
    right: str
    scale: float | dict[int, float] = 1.0


# vision.middlebury.edu/stereo/data: 2003 comes in full, half and quarter size, 2005 and 2006 in full, half and third.
MIDDLEBURY_2003 = (Naming("disp2", "im2", "im6", {0: 4.0, 600: 2.0, 1200: 1.0}),)
MIDDLEBURY_2006 = (Naming("disp1", "view1", "view5", {0: 3.0, 550: 2.0, 1000: 1.0}),)
MIDDLEBURY_2014 = (Naming("disp0", "im0", "im1"), Naming("disp0GT", "im0", "im1"))
ANY_PAIR = (
    *MIDDLEBURY_2003,
    *MIDDLEBURY_2006,
    *MIDDLEBURY_2014,
    Naming("{}GT", "{}L", "{}R"),
    Naming("disparity", "left", "right"),
    Naming("{}_disparity", "{}_left", "{}_right"),
)


def find_pairs(root: Path, namings: Iterable[Naming]) -> list[StereoPair]:
    """The pairs so named in ``root`` and in the folders up to three levels below. A folder is a recording.

    Raises:
        DataError: a left picture with its disparity, but no right one.
    """
    folders = [root, *sorted(path for depth in ("*", "*/*", "*/*/*") for path in root.glob(depth) if path.is_dir())]
    namings = tuple(namings)
    return [pair for folder in folders for pair in _in_folder(root, folder, namings)]


def _in_folder(root: Path, folder: Path, namings: tuple[Naming, ...]) -> Iterator[StereoPair]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    pictures = {path.stem: path for path in reversed(paths) if path.suffix.lower() in PICTURES}
    maps = pictures | {path.stem: path for path in reversed(paths) if path.suffix.lower() in (".pfm", ".npy")}
    for naming in namings:
        pattern = re.escape(naming.disparity).replace(r"\{\}", "(.+)")
        for match in filter(None, (re.fullmatch(pattern, stem) for stem in sorted(maps))):
            left, right = (pictures.get(name.format(*match.groups())) for name in (naming.left, naming.right))
            disparity = maps[match.string]
            if left is None:
                continue  # that of another naming
            if right is None:
                wanted = naming.right.format(*match.groups())
                raise DataError(f"{left} has a disparity but no right picture '{wanted}' (.png, .jpg ...) beside it")
            place = str(folder.relative_to(root))
            yield StereoPair(
                left,
                right,
                disparity,
                recording=re.sub("-(im)?perfect$", "", match[1] if place == "." and match.groups() else place),
                scale=_scale(naming, left) if disparity.suffix.lower() in PICTURES else 1.0,
                masks=tuple(_masks(pictures)),
                intrinsics=folder / "calib.txt",
            )


def _masks(pictures: dict[str, Path]) -> Iterator[tuple[Path, VisibleWhere]]:
    """Non-occlusion masks, as the Middlebury evaluation and ETH3D (white) and older copies (nonzero) name them."""
    if "mask0nocc" in pictures:
        yield pictures["mask0nocc"], "white"
    named = [path for stem, path in pictures.items() if stem.endswith("_mask")]
    if len(named) == 1:
        yield named[0], "nonzero"


def _scale(naming: Naming, picture: Path) -> float:
    if not isinstance(naming.scale, dict):
        return naming.scale
    try:
        with Image.open(picture) as image:
            return naming.scale[max(width for width in naming.scale if width <= image.width)]
    except OSError as error:
        raise DataError(f"cannot read {picture}: {error}") from error

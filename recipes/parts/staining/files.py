"""Cores on disk: an H&E picture and the markers beside it, as .npy arrays or pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.image_files import UNREADABLE, read_array
from recipes.parts.staining.core import Sample, Window

LOOKED_THROUGH = 2**28  # bytes of an array of floats that is looked through for NaN before anything is trained


@dataclass(frozen=True)
class StoredCore:
    """A core whose arrays are opened when they are needed, and mapped rather than loaded where they are ``.npy``.

    Make one with `open_core`, which looks whether its files fit together.

    Attributes:
        id: tells cores apart.
        he, target, mask: the files; a mask says by numbers above 0 which pixels count.
        size: height and width, px.
        channels: places in the file of the channels that are wanted, in the order wanted.
        last: channels come last in the target's file.
        split: which split a list of files says that it belongs to.
    """

    id: str
    he: Path
    target: Path
    mask: Path | None
    size: tuple[int, int]
    channels: tuple[int, ...]
    last: bool
    split: str | None = None

    def read(self, window: Window) -> Sample:
        """As `Core`. What is not finite is an error: a loss would never recover from it."""
        top, left, height, width = window
        rows, columns = slice(top, top + height), slice(left, left + width)
        he = np.asarray(read_array(self.he)[rows, columns])
        array = read_array(self.target)
        array = array[..., None] if array.ndim == 2 else array
        part = np.asarray(array[rows, columns] if self.last else array[:, rows, columns])
        target = np.moveaxis(part, -1, 0)[list(self.channels)] if self.last else part[list(self.channels)]
        target = target.astype(np.float32)
        if not np.isfinite(target).all():
            raise not_finite(self.target)
        if self.mask is None:
            valid = torch.ones(1, height, width, dtype=torch.bool)
        else:
            mask = read_array(self.mask)
            valid = torch.from_numpy(np.asarray(mask[rows, columns]).reshape(height, width, -1).max(-1) > 0)[None]
        picture = torch.from_numpy(np.array(he.transpose(2, 0, 1), order="C"))
        return {"he": picture.float() / 255, "target": torch.from_numpy(target), "valid": valid}

    def in_split(self, split: str | None) -> StoredCore:
        """The same, said to belong to ``split``."""
        return replace(self, split=split)


def open_core(
    he: Path, target: Path, *, id: str, count: int, channels: tuple[int, ...] | None = None, mask: Path | None = None
) -> StoredCore:
    """A core of these files, after a look at their headers.

    Args:
        count: how many channels the file has to have.
        channels: which of them are wanted; None for all.

    Raises:
        DataError: a file is missing, cannot be read or holds something else; sizes or the number of channels differ.
    """
    picture, markers = _shape(he), _shape(target)
    if picture[0] != np.uint8 or len(picture[1]) != 3 or picture[1][2] != 3:
        raise DataError(f"{he} is {picture[0]} {picture[1]}; an H&E picture is uint8 with shape (height, width, 3)")
    shape = (*markers[1], 1) if len(markers[1]) == 2 else markers[1]
    if len(shape) != 3 or markers[0].kind not in "uif":
        raise DataError(f"{target} is {markers[0]} {markers[1]}; markers are numbers with shape (C, H, W) or (H, W, C)")
    size = picture[1][:2]
    last = shape[:2] == size if shape[1:] != size else shape[2] == count != shape[0]
    if not last and shape[1:] != size:
        raise DataError(f"{target} has shape {shape}, and {he} is {size[0]} x {size[1]} px: they must be of one size")
    found = shape[2] if last else shape[0]
    if found != count:
        raise DataError(
            f"{target} has {found} channels where {count} are named; say recipe.channels=[...] in its order"
        )
    if mask is not None and (here := _shape(mask)[1][:2]) != size:
        raise DataError(f"{mask} is {here[0]} x {here[1]} px, and {he} is {size[0]} x {size[1]} px")
    if markers[0].kind == "f":
        _look_through(target)
    return StoredCore(id, he, target, mask, size, channels or tuple(range(count)), last)


def not_finite(path: Path) -> DataError:
    """The error of a target with NaN or infinity in it."""
    return DataError(f"{path} holds values that are not finite; a loss would never recover from one")


def _look_through(path: Path) -> None:
    """Raise unless all of an array of floats is finite; a very large one is looked at when it is read."""
    array = read_array(path)
    if array.nbytes <= LOOKED_THROUGH and not np.isfinite(array).all():
        raise not_finite(path)


def _shape(path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of an array or picture, from its header alone."""
    if not path.is_file():
        raise DataError(f"there is no {path}")
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        return array.dtype, array.shape
    try:
        with Image.open(path) as image:
            bands = len(image.getbands())
            kind = {"I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}.get(image.mode, np.uint8)
            return np.dtype(kind), (image.height, image.width, *([bands] if bands > 1 else []))
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}") from error

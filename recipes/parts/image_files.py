"""Reading pictures and arrays from files, and seeing to it that those read together are of one size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipes.parts.data_error import DataError

UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError)


def read_array(path: Path) -> np.ndarray:
    """The array of a picture ([H,W] or [H,W,C], as stored) or of an ``.npy`` file (mapped, not loaded).

    Raises:
        DataError: missing, truncated, or not such a file.
    """
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with Image.open(path) as image:
            return np.array(image)
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_image(path: Path) -> torch.Tensor:
    """A picture as uint8 [3,H,W], red green blue; a grey one three times the same."""
    if path.suffix.lower() == ".npy":
        array = read_array(path)
    else:
        try:
            with Image.open(path) as image:
                array = np.array(image if image.mode.startswith(("I", "F")) else image.convert("RGB"))
        except UNREADABLE as error:
            raise DataError(f"cannot read {path}: {error}") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise DataError(f"{path} is {array.dtype} {array.shape}; a picture is uint8 with shape (height, width, 3)")
    return torch.from_numpy(np.array(array.transpose(2, 0, 1), order="C"))


def require_one_size(maps: Mapping[Path, torch.Tensor]) -> None:
    """Raise `DataError`, naming two files and their sizes, unless all ``maps`` [...,H,W] are equally large."""
    (first, image), *others = maps.items()
    for path, other in others:
        if other.shape[-2:] != image.shape[-2:]:
            sizes = ["{1}x{0}".format(*value.shape[-2:]) for value in (image, other)]
            raise DataError(f"{first} is {sizes[0]} and {path} is {sizes[1]} px; they must be of one size")

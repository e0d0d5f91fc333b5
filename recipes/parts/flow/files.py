"""Reading the files flow data sets are made of: flows, label maps, masks, and frames of a film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence

from recipes.parts.data_error import DataError
from recipes.parts.image_files import UNREADABLE, read_array

UNKNOWN_FLOW = 1e9  # Middlebury: what is larger, or not a number, is unknown
TAG = 202021.25  # the first number of a .flo file: "PIEH" in ASCII


def read_flo(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A Middlebury ``.flo`` file: the flow float32 [2,H,W] in px, 0 where unknown, and bool [1,H,W], where it is known.

    Raises:
        DataError: missing, truncated, or not such a file.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if len(stored) < 12 or np.frombuffer(stored, "<f4", 1)[0] != np.float32(TAG):
        raise DataError(f"cannot read {path}: it does not begin like a .flo file (202021.25, width, height)")
    width, height = (int(number) for number in np.frombuffer(stored, "<i4", 2, 4))
    wanted = 8 * width * height
    if not (0 < width < 100_000 and 0 < height < 100_000) or len(stored) - 12 < wanted:
        raise DataError(f"cannot read {path}: {len(stored) - 12} bytes of pixels where {width}x{height} need {wanted}")
    pixels = np.frombuffer(stored, "<f4", 2 * width * height, 12).reshape(height, width, 2)
    return known_flow(torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)))


def known_flow(flow: torch.Tensor, *, limit: float = UNKNOWN_FLOW) -> tuple[torch.Tensor, torch.Tensor]:
    """``flow`` [2,H,W] with 0 where it is unknown (not finite, or a component beyond ``limit``), and where it is known.

    >>> flow, known = known_flow(torch.tensor([[[1.0, 2e9]], [[0.0, 0.0]]]))
    >>> flow[0].tolist(), known.tolist()
    ([[1.0, 0.0]], [[[True, False]]])
    """
    known = (torch.nan_to_num(flow, nan=torch.inf).abs() < limit).all(dim=0, keepdim=True)
    return torch.where(known, flow, 0.0), known


def read_labels(path: Path) -> torch.Tensor:
    """A map of segments, int64 [1,H,W], from whole numbers in ``.npy``, or a picture whose colours are its labels."""
    array = np.asarray(read_array(path))
    if array.ndim == 3 and array.shape[2] in (3, 4):  # each colour is a label
        red, green, blue = (array[..., channel].astype(np.int64) for channel in range(3))
        array = red + 256 * green + 65_536 * blue
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise DataError(f"{path} is {array.dtype} {array.shape}; a map of segments has one whole number a pixel")
    return torch.from_numpy(array.astype(np.int64))[None]


def read_numbers(path: Path) -> torch.Tensor:
    """A map of one number a pixel, float32 [1,H,W]."""
    array = np.asarray(read_array(path)).squeeze()
    if array.ndim != 2 or array.dtype.kind not in "iubf":
        raise DataError(f"{path} is {array.dtype} {array.shape}; wanted is one number a pixel")
    return torch.from_numpy(array.astype(np.float32))[None]


def film_length(path: Path) -> int:
    """The number of frames of an animated picture (GIF, WebP, PNG).

    Raises:
        DataError: it cannot be read, which is so of videos; says what reads these.
    """
    try:
        with Image.open(path) as film:
            return int(getattr(film, "n_frames", 1))
    except UNREADABLE as error:
        raise DataError(
            f"cannot read {path}: {error}. Read are animated GIF, WebP and PNG files; data set 'video' reads others"
        ) from error


def read_film(path: Path, numbers: tuple[int, ...]) -> list[torch.Tensor]:
    """Frames of these ``numbers`` (rising, from 0) of an animated picture: uint8 [3,H,W] each."""
    try:
        with Image.open(path) as film:
            found = [
                torch.from_numpy(np.array(frame.convert("RGB"))).permute(2, 0, 1).contiguous()
                for number, frame in enumerate(ImageSequence.Iterator(film))
                if number in numbers
            ]
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if len(found) != len(numbers):
        raise DataError(f"cannot read {path}: frame {max(numbers)} is missing")
    return found

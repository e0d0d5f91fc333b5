"""Reading the files stereo data sets have beside pictures: disparity maps, masks, calibration texts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from recipes.parts.data_error import DataError
from recipes.parts.image_files import read_array

Packing = Literal["value", "sintel"]
CALIBRATION_KEYS = ("P2", "P3", "P_rect_02", "P_rect_03", "cam0", "baseline", "doffs")
VisibleWhere = Literal["zero", "nonzero", "white"]


def read_disparity(path: Path, *, scale: float = 1.0, packing: Packing = "value") -> torch.Tensor:
    """A disparity map as float32 [1,H,W] in px, 0 where unknown (stored as 0, infinite or not a number).

    Args:
        path: ``.pfm`` (its sign is dropped: some are stored negative), ``.npy``, or a picture of 8 or 16 bits.
        scale: what the stored numbers are divided by.
        packing: ``sintel`` for three bytes a pixel, 4 r + g / 2^6 + b / 2^14 (the MPI Sintel stereo README).
    """
    array = read_pfm(path) if path.suffix.lower() == ".pfm" else read_array(path)
    if packing == "sintel" and array.ndim == 3 and array.shape[2] == 3:
        array = array.astype(np.float32) @ np.array([4, 2**-6, 2**-14], dtype=np.float32)
    elif array.ndim == 3 and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2:
        raise DataError(f"{path} has shape {array.shape}; a disparity map has one number a pixel")
    disparity = np.abs(array.astype(np.float32)) / np.float32(scale)
    return torch.from_numpy(np.where(np.isfinite(disparity), disparity, np.float32(0)))[None]


def read_mask(path: Path, where: VisibleWhere) -> torch.Tensor:
    """Where a mask picture says that a pixel is seen by both eyes: bool [1,H,W]."""
    array = read_array(path)
    array = array[..., 0] if array.ndim == 3 else array
    seen = array == 0 if where == "zero" else array > 0 if where == "nonzero" else array == 255
    return torch.from_numpy(seen)[None]


def read_pfm(path: Path) -> np.ndarray:
    """A portable float map as float32 [H,W] or [H,W,3], first row on top (www.pauldebevec.com/Research/HDR/PFM)."""
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    header = re.match(rb"(PF|Pf)\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s", stored)
    if header is None:
        raise DataError(f"cannot read {path}: it does not begin like a PFM file (Pf, width, height, scale)")
    kind, width, height, scale = header.group(1), int(header.group(2)), int(header.group(3)), float(header.group(4))
    shape = (height, width, 3) if kind == b"PF" else (height, width)
    wanted, found = 4 * math.prod(shape), len(stored) - header.end()
    if found < wanted:
        raise DataError(f"cannot read {path}: truncated, {found} bytes of pixels where {width}x{height} need {wanted}")
    pixels = np.frombuffer(stored, "<f4" if scale < 0 else ">f4", math.prod(shape), header.end())
    return pixels.reshape(shape)[::-1].astype(np.float32)


def read_focal_baseline(path: Path | None) -> float:
    """Focal length in px times baseline in m, from a KITTI or a Middlebury calibration text; NaN where it is not said.

    Middlebury's depth is f B / (d + doffs), which is none of f B / d unless doffs is 0, hence NaN then too.
    """
    if path is None or not path.is_file():
        return math.nan
    try:
        lines = [re.split(r"\s*[:=]\s*", line, maxsplit=1) for line in path.read_text().splitlines()]
        values = {
            line[0]: [float(number) for number in re.findall(r"[-+.\deE]+", line[1])]
            for line in lines
            if len(line) == 2 and line[0] in CALIBRATION_KEYS
        }
        if "cam0" in values:
            return values["cam0"][0] * values["baseline"][0] / 1000 if values.get("doffs", [0]) == [0] else math.nan
        left, right = (values.get(f"P_rect_0{eye}", values.get(f"P{eye}")) for eye in (2, 3))
        return math.nan if left is None or right is None else left[3] - right[3]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"cannot read the calibration {path}: {type(error).__name__} {error}") from error

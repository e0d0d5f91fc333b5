"""Recordings of a depth camera with a second camera to its right: rectified, with disparity from the depth."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from recipes.parts.data_error import DataError
from recipes.parts.image_files import read_array, read_image, require_one_size
from recipes.parts.stereo.layouts import Layout
from recipes.parts.stereo.rectification import Rectification, load_calibration, rectify_depth, remap, stereo_rectify
from recipes.parts.stereo.sample import StereoMaps

LEFT = ("color.npy", "left.npy", "color.png", "left.png")
RIGHT = ("right.npy", "right.png")
DEPTH = ("depth.npy", "depth.png")


@dataclass(frozen=True)
class RealSenseFrame:
    """The files of one moment; ``recording`` is its run's folder, ``calibration`` the ``.npz`` of both cameras."""

    left: Path
    right: Path
    depth: Path
    recording: str
    calibration: Path
    part: str = "train"

    options: ClassVar[tuple[str, ...]] = ("calibration",)

    def read(self) -> StereoMaps:
        """The rectified maps: colour bilinear, depth nearest and turned with the camera, d = f B / depth.

        ``valid`` is what `usable_disparity` leaves; ``disparity`` is there for every pixel with a depth.
        """
        left, right, depth = read_image(self.left), read_image(self.right), read_depth(self.depth)
        require_one_size({self.left: left, self.right: right, self.depth: depth})
        rectification, left_map, right_map = _rectified(self.calibration, (left.shape[-1], left.shape[-2]))
        depth = rectify_depth(depth, rectification, pixels=left_map)
        focal_baseline = rectification.focal_baseline
        disparity = torch.where(depth > 0, focal_baseline / depth, 0.0)
        valid = usable_disparity(disparity, focal_baseline)
        if not valid.any():
            share = (depth > 0).float().mean().item()
            raise DataError(
                f"{self.depth} has no valid disparity: {share:.0%} of it has a depth, none of that is usable"
            )
        return StereoMaps(remap(left, left_map), remap(right, right_map), disparity, valid, None, focal_baseline)


def usable_disparity(
    disparity: torch.Tensor,
    focal_baseline: float,
    *,
    nearest: float = 0.3,
    farthest: float = 10.0,
    edge: int = 20,
    jump: float = 1.0,
    outliers: float = 0.005,
) -> torch.Tensor:
    """Where a depth camera's ``disparity`` [1,H,W], px, 0 where unknown, can be learned from: bool [1,H,W].

    Args:
        focal_baseline: px m.
        nearest, farthest: m; the range in which the camera measures.
        edge: px along the borders that are left out.
        jump: px; where the differences of the neighbours left and right, and above and below, are together larger
            (root of their squares), surfaces meet and one eye may see what the other does not. An unknown neighbour
            counts as 0: the rims of holes are where a depth camera mixes near and far.
        outliers: the share of largest disparities that is left out: reflections come out too near.
    """
    usable = torch.isfinite(disparity) & (disparity > 0)
    usable &= (disparity >= focal_baseline / farthest) & (disparity <= focal_baseline / nearest)
    inner = torch.zeros_like(usable)
    inner[:, edge : disparity.shape[1] - edge, edge : disparity.shape[2] - edge] = True
    padded = torch.nn.functional.pad(disparity, (1, 1, 1, 1))
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    usable &= inner & (torch.hypot(across, down) < jump)
    if usable.any():
        usable &= disparity <= float(np.quantile(disparity[usable].numpy(), 1 - outliers))
    return usable


def read_depth(path: Path) -> torch.Tensor:
    """A depth map as float32 [1,H,W] in m, 0 where unknown; stored as uint16 mm or as float m."""
    array = read_array(path)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim != 2 or not (array.dtype == np.uint16 or array.dtype.kind == "f"):
        raise DataError(f"{path} is {array.dtype} {array.shape}; depth is uint16 mm or float m, (height, width)")
    metres = array.astype(np.float32) / (1000 if array.dtype == np.uint16 else 1)
    return torch.from_numpy(np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0)))[None]


def find_frames(root: Path) -> list[RealSenseFrame]:
    """The frame folders anywhere under ``root``, and for all of them the one ``.npz`` that lies in ``root`` itself.

    Raises:
        DataError: a frame folder that lacks a file.
    """
    calibrations = sorted(root.glob("*.npz"))
    calibration = calibrations[0] if len(calibrations) == 1 else root / "calibration.npz"
    frames = []
    for place, folders, files in os.walk(root):
        folders.sort()
        folder = Path(place)
        found = [next((name for name in names if name in files), None) for names in (LEFT, RIGHT, DEPTH)]
        left, right, depth = found
        if left and right and depth:
            recording = str(folder.parent.relative_to(root)) if folder != root else "."
            frames.append(RealSenseFrame(folder / left, folder / right, folder / depth, recording, calibration))
        elif depth or (left and right):
            wanted = [" or ".join(names) for names, name in zip((LEFT, RIGHT, DEPTH), found) if name is None]
            raise DataError(f"{folder} has no {', no '.join(wanted)}. Complete this frame, or remove its folder.")
    return frames


@functools.lru_cache(maxsize=8)
def _rectified(calibration: Path, size: tuple[int, int]) -> tuple[Rectification, torch.Tensor, torch.Tensor]:
    """The rectification and its two maps, made once in each process."""
    if not calibration.is_file():
        raise DataError(
            f"no calibration {calibration}. Put it there (keys K1 D1 K2 D2 R T), or name it: calibration=..."
        )
    try:
        rectification = stereo_rectify(**load_calibration(calibration), size=size)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"the calibration {calibration} cannot rectify {size[0]}x{size[1]} px: {error}") from error
    return rectification, rectification.left_map(), rectification.right_map()


REALSENSE = Layout(
    find_frames,
    "RUN/000001/{color.npy (or left.png), right.npy (or .png), depth.npy (uint16 mm or float m)} and one .npz with "
    "K1 D1 K2 D2 R T",
)

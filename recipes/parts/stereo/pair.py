"""The files of one stereo pair with its true disparity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from recipes.parts.data_error import DataError
from recipes.parts.image_files import read_image, require_one_size
from recipes.parts.stereo.files import Packing, VisibleWhere, read_disparity, read_focal_baseline, read_mask
from recipes.parts.stereo.sample import StereoMaps


@dataclass(frozen=True)
class StereoPair:
    """Where a pair's files are, and what is to know to read them.

    Args:
        recording: frames of one recording look alike.
        part: ``train``, or ``test`` where the authors keep it for testing.
        scale: what the stored disparities are divided by.
        masks: (file, where it says that both eyes see the pixel).
        intrinsics: a KITTI or Middlebury calibration text; it may be missing.
    """

    left: Path
    right: Path
    disparity: Path
    recording: str
    part: str = "train"
    scale: float = 1.0
    packing: Packing = "value"
    masks: tuple[tuple[Path, VisibleWhere], ...] = ()
    intrinsics: Path | None = None

    options: ClassVar[tuple[str, ...]] = ("scale",)

    def read(self) -> StereoMaps:
        """The maps. Raises `DataError` for a file that is broken, of another size, or without any disparity."""
        left, right = read_image(self.left), read_image(self.right)
        disparity = read_disparity(self.disparity, scale=self.scale, packing=self.packing)
        masks = {path: read_mask(path, where) for path, where in self.masks}
        require_one_size({self.left: left, self.right: right, self.disparity: disparity, **masks})
        valid = disparity > 0
        if not valid.any():
            raise DataError(f"{self.disparity} has no valid disparity: every pixel is unknown")
        seen = torch.stack(list(masks.values())).all(dim=0) if masks else None
        return StereoMaps(left, right, disparity, valid, seen, read_focal_baseline(self.intrinsics))

"""One stereo pair with its disparity, cropped, in the form the depth recipe batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

Sample = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class StereoMaps:
    """What a reader found: all maps of one size.

    left, right: uint8 [3,H,W]. disparity: float32 [1,H,W] in px, 0 where unknown. valid: bool [1,H,W], known and
    usable. seen: bool [1,H,W], also seen by the right eye, where the data set says so. focal_baseline: px m, NaN where
    unknown.
    """

    left: torch.Tensor
    right: torch.Tensor
    disparity: torch.Tensor
    valid: torch.Tensor
    seen: torch.Tensor | None = None
    focal_baseline: float = math.nan

    def sample(self, crop: tuple[int, int] | None = None) -> Sample:
        """The sample, whole or a random ``crop`` (height, width) of it at a place from torch's global generator.

        A map smaller than the crop is padded with zeros on the right and at the bottom, where ``valid`` is False.
        ``visible`` leaves out the pixels whose match lies outside the (cropped) right image.

        >>> maps = StereoMaps(*torch.full((2, 3, 4, 6), 51, dtype=torch.uint8), *torch.ones(2, 1, 4, 6))
        >>> sample = maps.sample((4, 8))
        >>> sample["left"].shape, sample["visible"].sum().item()
        (torch.Size([3, 4, 8]), 20)
        """
        valid = self.valid.bool()
        maps = {"left": self.left, "right": self.right, "disparity": self.disparity, "valid": valid}
        maps["visible"] = valid if self.seen is None else valid & self.seen
        if crop is not None:
            maps = _cropped(maps, crop)
        columns = torch.arange(maps["disparity"].shape[-1])
        maps["visible"] = maps["visible"] & (columns >= maps["disparity"])
        maps["left"], maps["right"] = maps["left"].float() / 255, maps["right"].float() / 255
        return {**maps, "focal_baseline": torch.tensor(self.focal_baseline, dtype=torch.float32)}


def _cropped(maps: Sample, size: tuple[int, int]) -> Sample:
    height, width = maps["disparity"].shape[-2:]
    top, left = (int(torch.randint(max(have - want, 0) + 1, ())) for have, want in zip((height, width), size))
    missing = (0, max(size[1] - width, 0), 0, max(size[0] - height, 0))
    return {name: F.pad(value[:, top : top + size[0], left : left + size[1]], missing) for name, value in maps.items()}

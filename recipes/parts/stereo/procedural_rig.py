"""Procedural pairs that come through two turned cameras with bent lenses, and are rectified as real recordings are."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from recipes.parts.stereo.rectification import remap, stereo_rectify
from recipes.parts.stereo.unrectified_pair import unrectified_pair


class ProceduralRig(Dataset[dict[str, torch.Tensor]]):
    """``count`` rectified pairs after the batch contract of the depth recipe, each with a calibration of its own.

    A scene is seen through a random calibration (lenses, and cameras turned against each other by up to
    ``turn_degrees``), and what the cameras give is rectified by it: images are resampled twice and have borders that no
    camera saw, where ``valid`` is False. The truth is the scene's own.

    Args:
        size: (H, W) in px.
        max_disparity: px.
        seed, fixed: with ``fixed``, sample i is a function of (seed, i); otherwise of torch's global generator.

    >>> pair = ProceduralRig(2, size=(48, 64), max_disparity=8.0, fixed=True)[1]
    >>> pair["left"].shape, pair["valid"].dtype
    (torch.Size([3, 48, 64]), torch.bool)
    """

    def __init__(
        self,
        count: int,
        *,
        size: tuple[int, int] = (128, 256),
        max_disparity: float = 64.0,
        turn_degrees: float = 2.0,
        seed: int = 0,
        fixed: bool = False,
    ):
        self.count, self.size, self.max_disparity = count, size, max_disparity
        self.turn_degrees, self.seed, self.fixed = turn_degrees, seed, fixed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        seed = self.seed * 1_000_003 + index if self.fixed else int(torch.randint(0, 2**31 - 1, ()))
        seen = unrectified_pair(
            size=self.size, max_disparity=self.max_disparity, turn_degrees=self.turn_degrees, seed=seed
        )
        found = stereo_rectify(**seen.calibration, size=(self.size[1], self.size[0]))
        maps = {"left": found.left_map(), "right": found.right_map()}
        inside = {eye: remap(torch.ones(1, *self.size), places) > 0.999 for eye, places in maps.items()}
        x = torch.arange(self.size[1], dtype=torch.float32).expand(1, *self.size)
        match = (x - seen.disparity).round().long()
        matched = inside["right"].gather(2, match.clamp(0, self.size[1] - 1)) & (match >= 0)
        valid = inside["left"]
        return {
            "left": remap(seen.left, maps["left"]),
            "right": remap(seen.right, maps["right"]),
            "disparity": torch.where(valid, seen.disparity, 0.0),
            "valid": valid,
            "visible": valid & matched,
            "focal_baseline": torch.tensor(found.focal_baseline, dtype=torch.float32),
        }

"""Stereo pairs to a batch, whatever their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

IMAGES = ("left", "right")


def collate_stereo(samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack samples; smaller ones are padded on the right and at the bottom to the largest height and width.

    Images repeat their border there, the other maps are zero: padded pixels are not ``valid`` and count nowhere.

    >>> small, large = ({"left": torch.ones(3, 1, w), "valid": torch.ones(1, 1, w, dtype=torch.bool)} for w in (1, 2))
    >>> batch = collate_stereo([small, large])
    >>> batch["left"].shape, batch["valid"].sum().item()
    (torch.Size([2, 3, 1, 2]), 3)
    """
    sizes = {tuple(value.shape[-2:]) for sample in samples for value in sample.values() if value.ndim == 3}
    if len(sizes) > 1:
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        samples = [{name: _padded(name, value, height, width) for name, value in sample.items()} for sample in samples]
    batch: dict[str, torch.Tensor] = default_collate(list(samples))
    return batch


def _padded(name: str, value: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if value.ndim != 3 or tuple(value.shape[-2:]) == (height, width):
        return value
    sides = (0, width - value.shape[-1], 0, height - value.shape[-2])
    return F.pad(value, sides, mode="replicate") if name in IMAGES else F.pad(value, sides)

"""Random changes of clips after which flow, occlusion, segments and lines are still right."""

from __future__ import annotations

import math
from typing import Any

import torch
from kornia.augmentation import ColorJiggle, RandomGrayscale, VideoSequential
from torch import nn
from torch.nn import functional as F

from recipes.parts.flow.occlusion import leads_inside

Batch = dict[str, Any]
MAPS = ("frames", "flow", "valid", "visible", "occluded", "segments", "line", "flat")


class FlowAugmentation(nn.Module):
    """Augments a batch of clips on its device: scale, crop, flips, colours, the same in all frames of a clip.

    The batch is a dict after `recipes.parts.flow.procedural_cartoons.ProceduralCartoons`, with a dimension B in front;
    it is not changed, and entries that are no maps are passed on. What is cropped off counts as occluded. Scaling mixes
    the flows of neighbours, so where these differ by more than a pixel the flow is no longer ``valid``.

    Colours are kornia's; it knows no flow, so the geometry is done here. Randomness comes from torch's global generator
    on the CPU, so nothing waits for the device.

    Args:
        jitter: how far brightness, contrast, saturation (1 +- this) and hue (of a turn) are changed.
        grayscale: the chance that a clip loses its colours.
        horizontal_flip, vertical_flip: the chance of each.
        scale: the range of the factor of the size, drawn once for a batch; both 1: no change.
        crop: (height, width) in px, at a place of its own in each clip; None keeps the size.
    """

    def __init__(
        self,
        *,
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.15),
        grayscale: float = 0.2,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.5,
        scale: tuple[float, float] = (1.0, 1.0),
        crop: tuple[int, int] | None = None,
    ):
        super().__init__()
        chances = {"grayscale": grayscale, "horizontal_flip": horizontal_flip, "vertical_flip": vertical_flip}
        for name, value in chances.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is a chance, so it must be between 0 and 1")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {scale}; it must be two factors above 0, the smaller one first")
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.scale, self.crop = scale, crop
        changes: list[nn.Module] = [ColorJiggle(*jitter, p=1.0)] if any(jitter) else []
        changes += [RandomGrayscale(p=grayscale)] if grayscale else []
        self.colours = VideoSequential(*changes, data_format="BTCHW", same_on_frame=True) if changes else None

    def forward(self, batch: Batch) -> Batch:
        """An augmented copy of ``batch``."""
        batch = dict(batch)
        self._scale(batch)
        if self.crop is not None:
            _crop(batch, *self.crop)
        _flip(batch, self.horizontal_flip, axis=-1, component=0)
        _flip(batch, self.vertical_flip, axis=-2, component=1)
        if self.colours is not None:
            batch["frames"] = self.colours(batch["frames"]).clamp(0.0, 1.0)
        return batch

    def _scale(self, batch: Batch) -> None:
        low, high = self.scale
        if low == high == 1.0:
            return
        height, width = batch["frames"].shape[-2:]
        if self.crop is not None:  # nothing smaller than the crop
            low = max(low, self.crop[0] / height, self.crop[1] / width)
        factor = low * (max(high, low) / low) ** torch.rand(()).item()
        scale_clip(batch, (math.ceil(height * factor - 0.5), math.ceil(width * factor - 0.5)))


def scale_clip(batch: Batch, size: tuple[int, int]) -> None:
    """Bring the maps of ``batch`` to ``size`` (H, W), in place."""
    height, width = batch["frames"].shape[-2:]
    mixed = _varies(batch["flow"])
    for name in MAPS:
        if name == "frames":
            batch[name] = _resized(batch[name], size, mode="bilinear", antialias=True)
        elif name == "flow":
            factors = batch[name].new_tensor([size[1] / width, size[0] / height]).view(2, 1, 1)
            batch[name] = _resized(batch[name], size, mode="bilinear") * factors
        elif name == "valid":
            known = _resized((~_spread(~batch[name]) & ~mixed).float(), size, mode="nearest-exact")
            batch[name] = known.bool()
        elif name in batch:
            # Whole numbers below 2^24 are exact in float32.
            batch[name] = _resized(batch[name].float(), size, mode="nearest-exact").to(batch[name].dtype)


def _crop(batch: Batch, height: int, width: int) -> None:
    """The same window in all frames of a clip."""
    full_height, full_width = batch["frames"].shape[-2:]
    if height > full_height or width > full_width:
        raise ValueError(f"crop ({height}, {width}) px is larger than the frames, ({full_height}, {full_width}) px")
    if (height, width) == (full_height, full_width):
        return
    count = len(batch["frames"])
    tops = torch.randint(full_height - height + 1, (count,)).tolist()
    lefts = torch.randint(full_width - width + 1, (count,)).tolist()
    for name in MAPS:
        if name in batch:
            windows = [clip[..., y : y + height, x : x + width] for clip, y, x in zip(batch[name], tops, lefts)]
            batch[name] = torch.stack(windows)
    inside = leads_inside(batch["flow"].flatten(0, 1)).view_as(batch["visible"])
    batch["occluded"] = batch["occluded"] | (batch["visible"] & ~inside)
    batch["visible"] = batch["visible"] & inside


def _flip(batch: Batch, chance: float, *, axis: int, component: int) -> None:
    """Mirror some clips; what pointed to one side points to the other."""
    rows = (torch.rand(len(batch["frames"])) < chance).nonzero().flatten() if chance else torch.empty(0)
    if not len(rows):
        return
    rows = rows.to(batch["frames"].device, non_blocking=True)
    for name in MAPS:
        if name in batch:
            mirrored = batch[name][rows].flip(axis)
            if name == "flow":
                mirrored[:, :, component].neg_()
            batch[name] = batch[name].index_copy(0, rows, mirrored)


def _resized(maps: torch.Tensor, size: tuple[int, int], **how: Any) -> torch.Tensor:
    return F.interpolate(maps.flatten(0, 1), size, **how).unflatten(0, maps.shape[:2])


def _varies(flow: torch.Tensor, *, limit: float = 1.0) -> torch.Tensor:
    """Where the flow [B,T,2,H,W] of a pixel and its eight neighbours differs by more than ``limit`` px."""
    flat = flow.flatten(0, 1)
    most, least = F.max_pool2d(flat, 3, 1, 1), -F.max_pool2d(-flat, 3, 1, 1)
    return (most - least > limit).any(dim=1, keepdim=True).unflatten(0, flow.shape[:2])


def _spread(mask: torch.Tensor) -> torch.Tensor:
    """A bool [B,T,1,H,W] with its pixels' eight neighbours."""
    return F.max_pool2d(mask.flatten(0, 1).float(), 3, 1, 1).bool().view_as(mask)

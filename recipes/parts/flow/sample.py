"""One clip with what is known of its flow, cropped, in the form the flow recipe batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from recipes.parts.flow.occlusion import leads_inside

Sample = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class FlowMaps:
    """What a reader found, all of one size; None is unknown.

    frames: uint8 [T,3,H,W]. flow: float32 [T-1,2,H,W] px, 0 where unknown. valid: bool [T-1,1,H,W], where it counts:
    where it is known and not beyond the data set's own limit.
    seen: bool [T-1,1,H,W], seen in the next frame too. segments: int64 [T,1,H,W], below 0 none. flat: bool [T,1,H,W],
    no outline.
    """

    frames: torch.Tensor
    flow: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    seen: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    flat: torch.Tensor | None = None

    def sample(self, crop: tuple[int, int] | None = None) -> Sample:
        """The sample, whole or a random ``crop`` (height, width) of it at a place from torch's global generator.

        Frames smaller than the crop repeat their border on the right and at the bottom, where nothing is ``valid``.
        Where nobody says whether a pixel is seen again, it is neither ``visible`` nor ``occluded``; unless its flow
        leads out of the (cropped) picture.

        >>> sample = FlowMaps(torch.zeros(2, 3, 4, 6, dtype=torch.uint8)).sample((4, 8))
        >>> sample["frames"].shape, sample["valid"].any().item(), sample["segments"].unique().tolist()
        (torch.Size([2, 3, 4, 8]), False, [-1])
        """
        frames = self.frames.shape[0]
        size = self.frames.shape[-2:]
        nowhere = torch.zeros(frames - 1, 1, *size, dtype=torch.bool)
        flat = self.flat
        maps = {
            "frames": self.frames.float() / 255,
            "flow": torch.zeros(frames - 1, 2, *size) if self.flow is None else self.flow,
            "valid": nowhere if self.valid is None else self.valid,
            "visible": nowhere if self.seen is None else self.seen,
            "occluded": nowhere if self.seen is None else ~self.seen,
            "segments": torch.full((frames, 1, *size), -1) if self.segments is None else self.segments,
            "line": torch.zeros(frames, 1, *size, dtype=torch.bool) if flat is None else ~flat,
            "flat": torch.zeros(frames, 1, *size, dtype=torch.bool) if flat is None else flat,
        }
        if crop is not None:
            maps = _cropped(maps, crop)
        out = maps["valid"] & ~leads_inside(maps["flow"])
        maps["visible"], maps["occluded"] = maps["visible"] & ~out, maps["occluded"] | out
        return maps


def _cropped(maps: Sample, size: tuple[int, int]) -> Sample:
    height, width = maps["frames"].shape[-2:]
    top, left = (int(torch.randint(max(have - want, 0) + 1, ())) for have, want in zip((height, width), size))
    maps = {name: value[..., top : top + size[0], left : left + size[1]] for name, value in maps.items()}
    below, right = (max(want - have, 0) for want, have in zip(size, (height, width)))
    if not (below or right):
        return maps
    sides = (0, right, 0, below)
    padded = {name: F.pad(value, sides, value=-1 if name == "segments" else 0) for name, value in maps.items()}
    return {**padded, "frames": F.pad(maps["frames"], sides, mode="replicate")}

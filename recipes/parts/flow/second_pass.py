"""A harder view of a pair of frames, of which a teacher who saw the easier one knows the flow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from kornia.augmentation import RandomErasing
from torch import nn
from torch.nn import functional as F

from recipes.parts.colour_jitter import ColourJitter


class HarderPair(NamedTuple):
    """Two frames and what a teacher says of them; all of the size of the pair that they were made of."""

    first: torch.Tensor  # [B,3,H,W] in 0..1
    second: torch.Tensor  # [B,3,H,W] in 0..1
    flow: torch.Tensor  # [B,2,H,W] px
    mask: torch.Tensor  # bool [B,1,H,W], where that flow is to be learned


class HarderView(nn.Module):
    """Makes the second pass of self-supervision (DDFlow, 2019; ARFlow, 2020; SMURF, 2021).

    A window of the pair is enlarged to the whole size, so that motion over its border, which the teacher could see,
    has to be guessed; each frame's colours change by themselves, noise is laid over both, and a patch of the second
    one is erased. The teacher's flow is that of the same window.

    Randomness comes from torch's global generator on the CPU.

    Args:
        smallest: the least share of height and width that a window has; it is drawn once for a batch.
        jitter: brightness, contrast and saturation of each frame change by 1 +- this, and so does the exponent.
        noise: its largest standard deviation; each batch has one of its own.
        erase: the chance of a sample's second frame to lose a patch of 2 to 10 percent.
    """

    def __init__(
        self, *, smallest: float = 0.75, jitter: float = 0.15, noise: float = 0.02, erase: float = 0.5
    ) -> None:
        super().__init__()
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest is {smallest}; it is a share of the size, above 0 and at most 1")
        self.smallest, self.noise = smallest, noise
        self.colours = ColourJitter(jitter=jitter, gamma=jitter) if jitter else None
        self.erasing = RandomErasing(scale=(0.02, 0.1), value=0.5, p=erase) if erase else None

    @torch.no_grad()
    def forward(self, first: torch.Tensor, second: torch.Tensor, flow: torch.Tensor, mask: torch.Tensor) -> HarderPair:
        """The harder view of ``first``, ``second`` [B,3,H,W] with the teacher's ``flow`` and where it is sure."""
        size = first.shape[-2:]
        draws = torch.rand(3).tolist()
        share = self.smallest + (1 - self.smallest) * draws[0]
        rows, columns = (max(2, round(share * length)) for length in size)
        top, left = round(draws[1] * (size[0] - rows)), round(draws[2] * (size[1] - columns))

        def enlarged(maps: torch.Tensor, mode: str) -> torch.Tensor:
            window = maps[..., top : top + rows, left : left + columns].float()
            return F.interpolate(window, size, mode=mode)

        factors = flow.new_tensor([size[1] / columns, size[0] / rows], dtype=torch.float32).view(2, 1, 1)
        flow = enlarged(flow, "bilinear") * factors
        mask = enlarged(mask, "nearest-exact").bool()
        first, second = (self._worse(enlarged(frame, "bilinear")) for frame in (first, second))
        if self.erasing is not None:
            second = self.erasing(second)
        return HarderPair(first, second, flow, mask)

    def _worse(self, frame: torch.Tensor) -> torch.Tensor:
        if self.colours is not None:
            frame = self.colours(frame)
        if self.noise:
            grain = torch.randn(frame.shape).to(frame.device, non_blocking=True)
            frame = frame + self.noise * torch.rand(()).item() * grain
        return frame.clamp(0.0, 1.0)

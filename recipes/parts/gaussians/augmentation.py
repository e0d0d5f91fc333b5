"""Random changes of sets of 2D Gaussians that are again sets of a picture: mirrored, turned, in other colours."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from recipes.parts.gaussians.form import ANGLE, COLOUR, INVERSE_SCALES

Batch = dict[str, Any]


class GaussianAugmentation(nn.Module):
    """Changes a batch of Gaussians [B,N,8] as their pictures would be changed; nothing has to be fitted again.

    Each set is mirrored left to right, top to bottom and along the diagonal with a chance of a half each, which gives
    all eight symmetries of the square; its colour channels are exchanged; and its colours are moved.

    Randomness comes from torch's global generator on the CPU, so nothing waits for the device.

    Args:
        turn: mirror and turn.
        exchange_colours: put red, green and blue in any order.
        jitter: contrast, alike for all colours, is multiplied by 1 +- this, and each colour moved by +- half of this.
    """

    def __init__(self, *, turn: bool = True, exchange_colours: bool = True, jitter: float = 0.2):
        super().__init__()
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter is {jitter}; it must be in [0, 1)")
        self.turn, self.exchange_colours, self.jitter = turn, exchange_colours, jitter

    def forward(self, batch: Batch) -> Batch:
        """An augmented copy of ``batch``."""
        gaussians = batch["gaussians"]
        size, device = len(gaussians), gaussians.device
        if self.turn:
            chosen = (torch.rand(size, 3) < 0.5).to(device, non_blocking=True)
            gaussians = mirror(gaussians, *chosen.unbind(1))
        colours = gaussians[..., COLOUR]
        if self.exchange_colours:
            order = torch.rand(size, 3).argsort(1).to(device, non_blocking=True)
            colours = colours.gather(2, order.unsqueeze(1).expand_as(colours))
        if self.jitter:
            draws = (2 * torch.rand(size, 4) - 1).to(device, non_blocking=True).unsqueeze(1)
            contrast = 1 + self.jitter * draws[..., :1]
            colours = (colours - 0.5) * contrast + 0.5 + self.jitter / 2 * draws[..., 1:]
        return {**batch, "gaussians": torch.cat([gaussians[..., : COLOUR.start], colours], -1)}


def mirror(gaussians: torch.Tensor, across: torch.Tensor, down: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    """Gaussians [B,N,8] mirrored left to right, top to bottom, and along the diagonal, where those bool [B] are true.

    Angles keep between -45° and 45° if they were: along the diagonal the axes are exchanged instead.
    """
    x, y = gaussians[..., 0], gaussians[..., 1]
    scales, angle = gaussians[..., INVERSE_SCALES], gaussians[..., ANGLE]
    across, down, diagonal = (which.unsqueeze(1) for which in (across, down, diagonal))
    x, y = torch.where(across, 1 - x, x), torch.where(down, 1 - y, y)
    x, y = torch.where(diagonal, y, x), torch.where(diagonal, x, y)
    scales = torch.where(diagonal.unsqueeze(-1), scales.flip(-1), scales)
    angle = torch.where(across ^ down ^ diagonal, -angle, angle)
    return torch.cat([torch.stack([x, y], -1), scales, angle.unsqueeze(-1), gaussians[..., COLOUR]], -1)

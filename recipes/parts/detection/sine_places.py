"""Places and sizes as sines and cosines, which attention compares easily."""

from __future__ import annotations

import math

import torch


def sines(values: torch.Tensor, width: int, *, temperature: float = 10000.0) -> torch.Tensor:
    """``values`` [...] as ``width`` numbers each [...,width]: sine and cosine of ever longer waves (Vaswani, 2017).

    >>> sines(torch.zeros(2, 3), 4).tolist()[0][0]
    [0.0, 1.0, 0.0, 1.0]
    """
    steps = torch.arange(width // 2, device=values.device, dtype=torch.float32)
    angles = values.float().unsqueeze(-1) * temperature ** (-2 * steps / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def place_code(mask: torch.Tensor, width: int) -> torch.Tensor:
    """DETR's code of the places of a feature map (Carion, 2020): [B,width,H,W], rows first.

    Rows and columns are counted where ``mask`` [B,H,W] is true, and go from 0 to 2 pi whatever the picture's size.
    """
    counts = [mask.float().cumsum(axis) for axis in (1, 2)]
    ends = counts[0][:, -1:, :], counts[1][:, :, -1:]
    scaled = [count / (end + 1e-6) * 2 * math.pi for count, end in zip(counts, ends)]
    return torch.cat([sines(part, width // 2) for part in scaled], dim=-1).permute(0, 3, 1, 2)

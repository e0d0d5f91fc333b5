"""How stereo networks read a disparity off their scores, and bring it to full size."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def soft_argmin(scores: torch.Tensor) -> torch.Tensor:
    """The mean bin [B,1,H,W] under the softmax of ``scores`` [B,D,H,W], in float32 (GC-Net, 2017).

    >>> soft_argmin(torch.tensor([0.0, 0.0, 0.0]).reshape(1, 3, 1, 1)).item()
    1.0
    """
    bins = torch.arange(scores.shape[1], device=scores.device, dtype=torch.float32)
    return (scores.float().softmax(dim=1) * bins[:, None, None]).sum(dim=1, keepdim=True)


def upsample_convex(coarse: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``coarse`` [B,1,H,W] at s times the size: each new pixel a weighted mean of the 3 x 3 old ones around it.

    ``weights`` [B,9 s^2,H,W] before their softmax over the 9 (RAFT, 2020). Values are not scaled.

    >>> upsample_convex(torch.full((1, 1, 2, 2), 3.0), torch.rand(1, 36, 2, 2)).shape
    torch.Size([1, 1, 4, 4])
    """
    batch, _, height, width = coarse.shape
    scale = round((weights.shape[1] // 9) ** 0.5)
    shares = weights.float().view(batch, 9, scale**2, height, width).softmax(dim=1)
    # Replicated at the border, where zeros would pull the mean down.
    around = F.unfold(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3).view(batch, 9, 1, height, width)
    return F.pixel_shuffle((shares * around).sum(dim=1), scale)

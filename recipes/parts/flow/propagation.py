"""Flow carried over from pixels that know it to those like them that do not."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def propagate(
    flow: torch.Tensor,
    confidence: torch.Tensor,
    likeness: torch.Tensor,
    *,
    spread: torch.Tensor | float,
    window: int = 3,
    dilation: int = 1,
) -> torch.Tensor:
    """The mean of ``flow`` [B,2,H,W] over a window, weighted by confidence and by who looks alike: [B,2,H,W].

    A pixel j counts exp(-|k_i - k_j|^2 / spread^2) times its confidence for pixel i. So a flat patch of one colour gets
    the motion of its textured or bordered parts, and does not get the motion of what is beside it (joint bilateral
    filter: Kopf et al., 2007; in flow networks LiteFlowNet, 2018).

    Args:
        confidence: above 0, [B,1,H,W].
        likeness: k, any numbers that tell things apart, such as colours; [B,C,H,W].
        spread: how far apart two of them are that are not alike.
        window: pixels of a side, odd, of which ``dilation`` px are between one and the next.

    >>> flow = torch.tensor([4.0, 0.0, 0.0, 1.0]).expand(1, 2, 1, 4)
    >>> colour = torch.tensor([0.0, 0.0, 9.0, 9.0]).expand(1, 1, 1, 4)
    >>> sure = torch.tensor([1.0, 1e-6, 1e-6, 1.0]).expand(1, 1, 1, 4)
    >>> propagate(flow, sure, colour, spread=1.0)[0, 0, 0].round(decimals=3).tolist()
    [4.0, 4.0, 1.0, 1.0]
    """
    apart = (_around(likeness, window, dilation) - likeness[:, :, None]).square().sum(dim=1)
    shares = (-apart / spread**2).exp() * _around(confidence, window, dilation)[:, 0]
    shares = shares / shares.sum(dim=1, keepdim=True)
    return (_around(flow, window, dilation) * shares[:, None]).sum(dim=2)


def _around(maps: torch.Tensor, window: int, dilation: int) -> torch.Tensor:
    """The neighbours of each pixel of ``maps`` [B,C,H,W], those beyond the border repeated: [B,C,window^2,H,W]."""
    wide = F.pad(maps, (dilation * (window // 2),) * 4, mode="replicate")
    return F.unfold(wide, window, dilation=dilation).unflatten(1, (maps.shape[1], -1)).unflatten(3, maps.shape[-2:])

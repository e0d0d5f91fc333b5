"""Flow between real frames of any size from a network with a stride and a smallest size."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def padded_flow(
    model: nn.Module, first: torch.Tensor, second: torch.Tensor, *, stride: int, smallest: int
) -> list[torch.Tensor]:
    """The network's flows [B,2,H,W] in px, coarse to fine, from ``first`` to ``second`` [B,3,H,W] in 0..1 of any size.

    Frames are padded to multiples of ``stride``, and to at least ``smallest`` px a side, by repeating the border on the
    right and below; the flows are cut back. The two are the network's attributes of these names, and are given, since a
    network that is wrapped for many processes does not show them.
    """
    height, width = first.shape[-2:]
    wanted = (max(smallest, -(-length // stride) * stride) for length in (height, width))
    below, right = (want - have for want, have in zip(wanted, (height, width)))
    if below or right:
        first, second = (F.pad(frame, (0, right, 0, below), mode="replicate") for frame in (first, second))
    return [flow[..., :height, :width] for flow in model(first, second)]

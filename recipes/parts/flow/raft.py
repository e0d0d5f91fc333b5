"""RAFT as torchvision has it, called as the small flow network is."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.optical_flow import raft_large, raft_small

from recipes.parts.flow.small_net import check_frames

SIZES = {"small": raft_small, "large": raft_large}


class RaftFlow(nn.Module):
    """RAFT (Teed and Deng, 2020): 0.99 M parameters "small", 5.26 M "large". Without weights; load them from a file.

    ``network`` is torchvision's model, and has the names of its weight files.

    Args:
        size: "small" or "large".
        updates: iterations of its recurrent unit.
    """

    stride = 8
    smallest = 128  # px a side: the correlation pyramid's

    def __init__(self, size: str = "small", *, updates: int = 12) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"size is {size!r}; it can be {' or '.join(map(repr, SIZES))}")
        self.updates = updates
        self.network = SIZES[size](weights=None)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        """Flows float32 [B,2,H,W] in px from ``first`` to ``second`` [B,3,H,W] in 0..1, one after each update.

        In evaluation mode a list of the last one alone. H and W are multiples of 8 and at least 128.
        """
        check_frames(first, second, self.stride)
        if min(first.shape[-2:]) < self.smallest:
            height, width = first.shape[-2:]
            raise ValueError(f"frames are {height} x {width} px; RAFT needs at least {self.smallest} px a side")
        flows = self.network(2 * first - 1, 2 * second - 1, num_flow_updates=self.updates)
        return [flow.float() for flow in (flows if self.training else flows[-1:])]

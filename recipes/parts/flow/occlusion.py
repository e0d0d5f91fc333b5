"""Where a flow leads out of the picture, or to something that was not there before."""

from __future__ import annotations

import torch

from recipes.parts.warping import warp


def leads_inside(flow: torch.Tensor) -> torch.Tensor:
    """Whether ``flow`` [B,2,H,W] px leads to a place within the picture: bool [B,1,H,W].

    >>> leads_inside(torch.tensor([[[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])).flatten().tolist()
    [True, True, False]
    """
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1].float()
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1:].float()
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


@torch.no_grad()
def seen_in_both(
    forward: torch.Tensor, backward: torch.Tensor, *, relative: float = 0.01, slack: float = 0.5
) -> torch.Tensor:
    """Whether a pixel is seen in the other frame too: the way there and back ends where it began. Bool [B,1,H,W].

    With b the backward flow where the forward flow f leads: |f + b|^2 < relative (|f|^2 + |b|^2) + slack, and f leads
    inside (UnFlow, 2018, equation 2 and its constants). No gradient passes.

    Args:
        forward, backward: [B,2,H,W] px, from the first frame to the second, and from the second to the first.
        slack: px squared.

    >>> there = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    >>> seen_in_both(there, -there).flatten().tolist(), seen_in_both(there, there).any().item()
    ([True, True, False, False], False)
    """
    forward, backward = forward.float(), backward.float()
    back = warp(backward, forward, border=True)
    apart = (forward + back).square().sum(dim=1, keepdim=True)
    length = forward.square().sum(dim=1, keepdim=True) + back.square().sum(dim=1, keepdim=True)
    return leads_inside(forward) & (apart < relative * length + slack)


def most_or_all(seen: torch.Tensor, inside: torch.Tensor, *, least: float = 0.5) -> torch.Tensor:
    """``seen`` where it is at least the share ``least`` of a sample, and ``inside`` where it is not; bool [B,1,H,W].

    Two flows that agree nearly nowhere say that they are wrong, not that all is occluded. A loss over what they agree
    on would be nought, with no gradient, and stay there.

    >>> few, all_of_it = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    >>> most_or_all(few.view(1, 1, 1, 3), all_of_it.view(1, 1, 1, 3)).all().item()
    True
    """
    share = seen.float().mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(share >= least, seen, inside)

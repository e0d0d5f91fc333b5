"""What a flow should be like whatever the pictures: smooth, the same forth and back, near to a teacher's."""

from __future__ import annotations

import torch

from recipes.parts.flow.photometric_losses import masked_mean
from recipes.parts.warping import warp

EPSILON = 1e-3  # px, where the distances below go over from quadratic to linear


def flow_smoothness(
    flow: torch.Tensor,
    *,
    order: int = 1,
    image: torch.Tensor | None = None,
    edge_weight: float = 10.0,
    segments: torch.Tensor | None = None,
    across: float = 0.05,
) -> torch.Tensor:
    """How much ``flow`` changes (order 1) or changes its change (order 2) from pixel to pixel, in px.

    The mean over both directions and both components of w |D flow|. w falls at edges of ``image``, as
    exp(-edge_weight |D image|) with the mean over its colours (Monodepth, 2017; ARFlow, 2020: 10), and is ``across``
    between pixels of two ``segments``. Either may be left out. Unlike ARFlow's, the flow is in px and not divided by
    the short side of the picture, so weights of this term cannot be compared with that paper's.

    Args:
        flow: [B,2,H,W] px, at least order + 1 px a side.
        image: [B,3,H,W] in 0..1.
        segments: whole numbers [B,1,H,W].

    >>> flow = torch.tensor([0.0, 1.0, 3.0]).expand(1, 2, 3, 3)   # steps of 1 and 2 along x, none along y
    >>> flow_smoothness(flow), flow_smoothness(flow, order=2)     # (1.5 + 0) / 2, (1 + 0) / 2
    (tensor(0.7500), tensor(0.5000))
    """
    if order not in (1, 2):
        raise ValueError(f"order is {order}; it can be 1 or 2")
    if min(flow.shape[-2:]) <= order:
        raise ValueError(f"flow {tuple(flow.shape)} is too small for differences of order {order}")
    total = torch.zeros((), device=flow.device)
    for axis in (-1, -2):
        change = flow.float().diff(n=order, dim=axis).abs()
        if image is not None:
            edge = _over(image.float(), order, axis).abs().mean(dim=1, keepdim=True)
            change = change * (-edge_weight * edge).exp()
        if segments is not None:
            change = torch.where(_same(segments, order, axis), change, across * change)
        total = total + change.mean()
    return total / 2


def flow_consistency(forward: torch.Tensor, backward: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How far from its start one ends who goes by ``forward`` and returns by ``backward`` [B,2,H,W]; px.

    A mean over the pixels ``seen`` in both frames, bool [B,1,H,W]; an empty one gives 0, with gradient 0.

    >>> there = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    >>> everywhere = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    >>> round(flow_consistency(there, torch.zeros_like(there), everywhere).item(), 2)
    5.0
    """
    back = warp(backward.float(), forward.float(), border=True)
    return masked_mean(_length(forward.float() + back), seen)


def flow_distance(flow: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over ``mask``, bool [B,1,H,W], of |flow - teacher| in px, both [B,2,H,W]; the teacher gets no gradient.

    >>> mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    >>> round(flow_distance(torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1), mask).item(), 2)
    1.41
    """
    teacher = torch.where(mask, teacher.detach(), 0.0).float()
    return masked_mean(_length(flow.float() - teacher), mask)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Charbonnier's length [B,1,H,W] of ``vectors`` [B,2,H,W]: with a gradient at 0, where it is 0."""
    return (vectors.square().sum(dim=1, keepdim=True) + EPSILON**2).sqrt() - EPSILON


def _over(values: torch.Tensor, order: int, axis: int) -> torch.Tensor:
    """The difference of ``values`` from one end to the other of each stretch of order + 1 pixels."""
    length = values.shape[axis]
    return values.narrow(axis, order, length - order) - values.narrow(axis, 0, length - order)


def _same(segments: torch.Tensor, order: int, axis: int) -> torch.Tensor:
    """Whether all pixels of each stretch of order + 1 are of one segment."""
    equal = segments.diff(dim=axis) == 0
    for _ in range(order - 1):
        length = equal.shape[axis]
        equal = equal.narrow(axis, 1, length - 1) & equal.narrow(axis, 0, length - 1)
    return equal

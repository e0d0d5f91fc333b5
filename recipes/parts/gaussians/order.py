"""Orders of a set of points, so that what is near in the plane or in space is near in the sequence."""

from __future__ import annotations

import torch


def morton_order(points: torch.Tensor, *, bits: int = 10) -> torch.Tensor:
    """Indices [...,N] that sort ``points`` [...,N,D] along the Z-curve (Morton, 1966).

    Args:
        points: in 0..1; beyond counts as the border.
        bits: of each coordinate; ``D * bits`` is at most 62.

    >>> morton_order(torch.tensor([[0.9, 0.9], [0.1, 0.9], [0.9, 0.1], [0.1, 0.1]])).tolist()
    [3, 2, 1, 0]
    """
    dimensions = points.shape[-1]
    if dimensions * bits > 62:
        raise ValueError(f"{dimensions} coordinates of {bits} bits do not fit into 62")
    cells = (points.double() * 2**bits).floor().clamp(0, 2**bits - 1).long()
    code = torch.zeros(points.shape[:-1], dtype=torch.long, device=points.device)
    for bit in range(bits):
        for axis in range(dimensions):
            code |= ((cells[..., axis] >> bit) & 1) << (bit * dimensions + axis)
    return code.argsort(dim=-1, stable=True)


def balanced_order(points: torch.Tensor) -> torch.Tensor:
    """Indices [...,N] that put ``points`` [...,N,D] in the order of the leaves of a balanced k-d tree (Bentley, 1975).

    The set is halved by its first coordinate, each half by the second, and so on. So place i in the sequence is about
    the same place in the picture for all sets, which the Z-curve does not give.

    >>> balanced_order(torch.tensor([[0.9, 0.9], [0.1, 0.9], [0.9, 0.1], [0.1, 0.1]])).tolist()
    [3, 1, 2, 0]
    """
    *batch, count, dimensions = points.shape
    if count == 0:
        return torch.zeros(*batch, 0, dtype=torch.long, device=points.device)
    levels = (count - 1).bit_length()
    filling = 2**levels - count
    # What fills up to a power of two is beyond all points, so it stays last wherever it is sorted.
    coordinates = torch.cat([points, points.new_full((*batch, filling, dimensions), torch.inf)], -2)
    order = torch.arange(2**levels, device=points.device).expand(*batch, -1)
    for level in range(levels):
        along = coordinates[..., level % dimensions].gather(-1, order)
        parts = along.reshape(*batch, 2**level, -1)
        rank = parts.argsort(dim=-1, stable=True)
        order = order.reshape(*batch, 2**level, -1).gather(-1, rank).reshape(*batch, -1)
    if filling:
        order = order.gather(-1, (order >= count).byte().argsort(dim=-1, stable=True)[..., :count])
    return order


ORDERS = {"morton": morton_order, "balanced": balanced_order}


def put_in_order(gaussians: torch.Tensor, order: str) -> torch.Tensor:
    """``gaussians`` [...,N,8] in the ``order`` of that name, by their places."""
    places = ORDERS[order](gaussians[..., :2])
    return gaussians.gather(-2, places.unsqueeze(-1).expand_as(gaussians))

"""Gaussians for pictures by construction, with nothing optimised: milliseconds where a fit takes a minute."""

from __future__ import annotations

import torch
from torch.nn import functional as F

FLAT = 0.05  # what a pixel without any edge counts beside the strength of an edge, per px
WIDTH = 0.45  # standard deviation over the square root of a cell's area
LONGEST = 3.0  # ratio of the axes at a straight edge


def construct_gaussians(images: torch.Tensor, count: int = 512) -> torch.Tensor:
    """Gaussians [B,count,8], as stored, that look like ``images`` [B,3,S,S] in 0..1.

    The picture is halved again and again, across and down by turns, so that each half has as many edges: small cells
    where there is something to see. Each becomes a Gaussian of its mean colour at its centre of edges, along its edge
    (structure tensor, Förstner and Gülch, 1987), and the longer the straighter that is. It is turned by at most 45°,
    as one that was fitted beginning at no angle: whichever axis is nearer to the edge is its long one.

    Args:
        count: a power of two.

    >>> construct_gaussians(torch.rand(2, 3, 32, 32), 64).shape
    torch.Size([2, 64, 8])
    """
    if count < 2 or count & (count - 1):
        raise ValueError(f"count is {count}; halving gives a power of two")
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images are {tuple(images.shape)}; expected (batch, 3, side, side)")
    side = images.shape[-1]
    tensor = _structure(images)
    edges = (tensor[:, 0] + tensor[:, 2]).clamp_min(0).sqrt() + FLAT
    place = torch.arange(side, device=images.device) + 0.5
    maps = [edges, edges * place, edges * place[:, None], *images.unbind(1), *tensor.unbind(1)]
    table = F.pad(torch.stack(maps, 1).double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
    cells = _cells(table[:, :1], side, count)
    return _gaussians(_sums(table, cells), cells, side).to(images.dtype)


def _structure(images: torch.Tensor) -> torch.Tensor:
    """The structure tensor [B,3,S,S]: xx, xy, yy, summed over the colours and blurred a little."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    tensor = torch.stack([across.square(), across * down, down.square()], 1).sum(2)
    for _ in range(2):
        tensor = F.avg_pool2d(F.pad(tensor, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return tensor


def _cells(table: torch.Tensor, side: int, count: int) -> torch.Tensor:
    """Left, top, right, bottom in px of ``count`` cells [B,count,4] that halve the first map of ``table`` each time."""
    cells = table.new_tensor([0.0, 0.0, side, side]).expand(len(table), 1, 4)
    for level in range(count.bit_length() - 1):
        low, high = level % 2, level % 2 + 2
        half = _sums(table, cells)[:, 0] / 2
        near, far = cells[..., low], cells[..., high]
        for _ in range(12):  # to a 4000th of the cell
            middle = (near + far) / 2
            part = cells.clone()
            part[..., high] = middle
            less = _sums(table, part)[:, 0] < half
            near, far = torch.where(less, middle, near), torch.where(less, far, middle)
        first, second = cells.clone(), cells.clone()
        first[..., high] = second[..., low] = (near + far) / 2
        cells = torch.stack([first, second], 2).flatten(1, 2)
    return cells


def _sums(table: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """The maps' sums over the cells, [B,maps,N], from their summed area ``table`` (Crow, 1984), linear in a pixel."""
    scale = 2 / (table.shape[-1] - 1)
    left, top, right, bottom = (cells * scale - 1).unbind(-1)
    xs, ys = torch.stack([left, right, left, right], 1), torch.stack([top, top, bottom, bottom], 1)
    corners = F.grid_sample(table, torch.stack([xs, ys], -1), align_corners=True)
    return corners[:, :, 0] - corners[:, :, 1] - corners[:, :, 2] + corners[:, :, 3]


def _gaussians(sums: torch.Tensor, cells: torch.Tensor, side: int) -> torch.Tensor:
    edges, *moments, red, green, blue, xx, xy, yy = sums.unbind(1)
    area = (cells[..., 2] - cells[..., 0]) * (cells[..., 3] - cells[..., 1])
    area = area.clamp_min(1e-3)
    x, y = (moment / edges.clamp_min(1e-9) / side for moment in moments)
    coherence = ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy + 1e-4 * area)
    # The gradient's angle is half that of (xx - yy, 2 xy); the edge runs across it.
    edge = torch.atan2(-2 * xy, yy - xx) / 2
    upright = edge.abs() > torch.pi / 4
    angle = torch.where(upright, edge - torch.sign(edge) * torch.pi / 2, edge)
    inverse = 1 / (WIDTH * area.sqrt())
    stretch = (1 + (LONGEST - 1) * coherence).sqrt()
    along, across = inverse / stretch, inverse * stretch
    first, second = torch.where(upright, across, along), torch.where(upright, along, across)
    return torch.stack([x, y, first, second, angle, red / area, green / area, blue / area], -1)

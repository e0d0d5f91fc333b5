"""Sampling one picture at the pixels of another: by disparity between two eyes, by flow between two frames."""

from __future__ import annotations

import torch
from kornia.geometry.transform import remap


def warp(image: torch.Tensor, flow: torch.Tensor, *, border: bool = False) -> torch.Tensor:
    """Sample ``image`` [B,C,H,W] at each pixel moved by ``flow`` [B,2,H,W], (x, y) in px.

    A whole-pixel flow copies pixels exactly; between pixels it is bilinear.

    Args:
        border: outside ``image``, repeat its border; zero otherwise.

    >>> image = torch.arange(4.0).expand(1, 1, 2, 4)
    >>> warp(image, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 4))[0, 0, 0]
    tensor([1., 2., 3., 0.])
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or image.ndim != 4 or flow.shape[0] != image.shape[0]:
        raise ValueError(f"image {tuple(image.shape)} and flow {tuple(flow.shape)}; wanted [B,C,H,W] and [B,2,H,W]")
    columns, rows = _pixel_grid(flow)
    return _sample(image, columns + flow[:, 0].float(), rows + flow[:, 1].float(), border)


def warp_disparity(right: torch.Tensor, disparity: torch.Tensor, *, border: bool = False) -> torch.Tensor:
    """The left view made of the ``right`` one [B,C,H,W]: sampled at x - d, with ``disparity`` [B,1,H,W] in px.

    Where the disparity is right and both eyes see the point, this is the left image.

    Args:
        border: outside ``right``, repeat its border; zero otherwise.

    >>> right = torch.arange(4.0).expand(1, 1, 1, 4)
    >>> warp_disparity(right, torch.full((1, 1, 1, 4), 1.0)).flatten()
    tensor([0., 0., 1., 2.])
    """
    if disparity.ndim != 4 or disparity.shape[1] != 1 or right.ndim != 4 or disparity.shape[0] != right.shape[0]:
        raise ValueError(
            f"right {tuple(right.shape)} and disparity {tuple(disparity.shape)}; wanted [B,C,H,W] and [B,1,H,W]"
        )
    columns, rows = _pixel_grid(disparity)
    return _sample(right, columns - disparity[:, 0].float(), rows.expand_as(disparity[:, 0]), border)


def right_view_disparity(
    disparity: torch.Tensor, known: torch.Tensor, *, max_step: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """The disparity of the right view, carried over from the left view's.

    Each pair of neighbours in a row spans a piece of surface; the right view's pixels that it covers get the disparity
    between the two, so a plane's is exact. Where surfaces overlap the nearest one is seen.

    Args:
        disparity: left view [B,1,H,W], px, a point at x in left is at x - d in right.
        known: bool [B,1,H,W], left pixels to carry over. Give those that the right eye sees too: a hidden pixel would
            be carried to where something else is.
        max_step: px; neighbours that differ by more are taken for two surfaces, and nothing is put between them.

    Returns:
        the right view's disparity [B,1,H,W] (a point at x in right is at x + d in left), 0 where unknown, and the
        bool [B,1,H,W] that says where it is known.

    >>> slanted = torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0, 4.5]).view(1, 1, 1, 6)    # d = 2 + x / 2, so d = 4 + 2 x'
    >>> disparity, known = right_view_disparity(slanted, slanted > 0)
    >>> disparity.flatten()
    tensor([4., 0., 0., 0., 0., 0.])
    """
    if not 0 <= max_step < 1:
        raise ValueError(f"max_step is {max_step} px; it must be in [0, 1)")
    width = disparity.shape[-1]
    disparity = torch.where(known, disparity, 0.0).float()
    near, far = disparity[..., :-1], disparity[..., 1:]
    surface = known[..., :-1] & known[..., 1:] & ((far - near).abs() <= max_step)
    column = torch.arange(width - 1, device=disparity.device, dtype=torch.float32)
    start, end = column - near, column + 1 - far  # where the piece lies in the right view
    carried = torch.zeros_like(disparity)
    for offset in (0, 1):  # a piece is shorter than 2 px, so it covers at most two pixels
        target = start.ceil() + offset
        hit = surface & (target <= end) & (target >= 0) & (target < width)
        share = (target - start) / (end - start).clamp_min(1e-6)
        value = torch.where(hit, near + share * (far - near), 0.0)
        carried.scatter_reduce_(-1, torch.where(hit, target, 0.0).long(), value, "amax")
    return carried, carried > 0


def _pixel_grid(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x as [1,1,W] and y as [1,H,1] of each pixel of ``field`` [B,C,H,W]."""
    height, width = field.shape[-2:]
    columns = torch.arange(width, device=field.device, dtype=torch.float32)
    rows = torch.arange(height, device=field.device, dtype=torch.float32)
    return columns.view(1, 1, -1), rows.view(1, -1, 1)


def _sample(image: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor, border: bool) -> torch.Tensor:
    # align_corners: remap's pixel coordinates are those of pixel centres only with it.
    if not border:
        return remap(image, columns, rows, padding_mode="zeros", align_corners=True)
    # Where a coordinate is NaN the border has no nearest pixel, and torch's backward pass on the CPU ends the process.
    nowhere = columns.isnan() | rows.isnan()
    columns, rows = columns.masked_fill(columns.isnan(), 0.0), rows.masked_fill(rows.isnan(), 0.0)
    sampled = remap(image, columns, rows, padding_mode="border", align_corners=True)
    return sampled.masked_fill(nowhere.unsqueeze(1), float("nan"))

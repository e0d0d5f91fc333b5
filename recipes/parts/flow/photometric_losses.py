"""How much a frame differs from the next one sampled by a flow: colours and structure, or ranks of grey (census)."""

from __future__ import annotations

import torch
from kornia.color import rgb_to_grayscale
from kornia.metrics import ssim
from torch.nn import functional as F

SSIM_WINDOW = 3  # px, as Monodepth (2017) and ARFlow (2020)


def photometric(
    first: torch.Tensor, warped: torch.Tensor, mask: torch.Tensor, *, alpha_ssim: float = 0.85
) -> torch.Tensor:
    """Mean over ``mask`` of alpha_ssim (1 - SSIM) / 2 + (1 - alpha_ssim) |difference| (ARFlow, 2020: 0.85).

    Args:
        first: [B,3,H,W] in 0..1.
        warped: the second frame sampled where the flow leads, [B,3,H,W]; beyond its border the border repeated, since
            SSIM looks at neighbours of a pixel too.
        mask: bool [B,1,H,W], the pixels that count; an empty one gives 0, with gradient 0.

    >>> first = torch.full((1, 3, 4, 4), 0.5)
    >>> photometric(first, first + 0.1, torch.ones(1, 1, 4, 4, dtype=torch.bool), alpha_ssim=0.0)
    tensor(0.1000)
    """
    if not 0 <= alpha_ssim <= 1:
        raise ValueError(f"alpha_ssim is {alpha_ssim}; it must be between 0 and 1")
    check_frames(first, warped, mask)
    with torch.autocast(first.device.type, enabled=False):  # a variance from 16-bit squares would be noise
        first, warped = first.float(), warped.float()
        difference = (first - warped).abs()
        if alpha_ssim:
            structure = ((1 - ssim(first, warped, SSIM_WINDOW)) / 2).clamp(0, 1)
            difference = alpha_ssim * structure + (1 - alpha_ssim) * difference
        return masked_mean(difference.mean(dim=1, keepdim=True), mask)


def census(first: torch.Tensor, warped: torch.Tensor, mask: torch.Tensor, *, radius: int = 2) -> torch.Tensor:
    """Mean over ``mask`` of how differently the pixels around compare with the middle one; in 0..1.

    The soft census transform: each neighbour's difference d to the middle, in steps of grey (0..255), becomes
    d / sqrt(0.81 + d^2), and two of these that differ by e count e^2 / (0.1 + e^2), nearly a Hamming distance (DDFlow,
    2019). A change of brightness or contrast hardly moves it. Pixels nearer than ``radius`` to the border do not count.

    Args:
        first, warped, mask: as `photometric`.
        radius: px, of the square of neighbours.

    >>> first, everywhere = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    >>> bool(census(first, first + 0.1, everywhere) < 1e-4 < 1e-2 < census(first, first.flip(-1), everywhere))
    True
    """
    if radius < 1:
        raise ValueError(f"radius is {radius} px; it must be at least 1")
    check_frames(first, warped, mask)
    with torch.autocast(first.device.type, enabled=False):
        difference = _census_transform(first.float(), radius) - _census_transform(warped.float(), radius)
        square = difference.square()
        distance = (square / (0.1 + square)).mean(dim=1, keepdim=True)
    inner = torch.zeros_like(mask)
    inner[..., radius:-radius, radius:-radius] = True
    return masked_mean(distance, mask & inner)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of ``values`` [B,1,H,W] over the bool ``mask``; 0 where that is empty. What stands outside is not seen.

    >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def check_frames(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor) -> None:
    """Raise ValueError unless two pictures [B,3,H,W] and a bool mask [B,1,H,W] fit together."""
    wanted = (first.shape[0], 1, *first.shape[2:])
    if first.shape != second.shape or first.ndim != 4 or mask.shape != wanted or mask.dtype != torch.bool:
        raise ValueError(
            f"frames {tuple(first.shape)} and {tuple(second.shape)}, mask {mask.dtype} {tuple(mask.shape)}; "
            "wanted twice [B,3,H,W], and bool [B,1,H,W]"
        )


def _census_transform(image: torch.Tensor, radius: int) -> torch.Tensor:
    """[B,(2r+1)^2,H,W], each in -1..1, of ``image`` [B,3,H,W] in 0..1."""
    grey = 255 * rgb_to_grayscale(image)
    size = 2 * radius + 1
    around = F.unfold(F.pad(grey, (radius,) * 4, mode="replicate"), size).unflatten(2, grey.shape[-2:])
    difference = around - grey
    return difference / (0.81 + difference.square()).sqrt()

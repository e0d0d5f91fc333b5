"""How well the surroundings of each pixel match those of pixels near to it in another picture."""

from __future__ import annotations

import torch
from torch.nn import functional as F


@torch.no_grad()
def patch_correlation(
    first: torch.Tensor, second: torch.Tensor, *, reach: int, window: int = 5, smoothing: int = 3, noise: float = 4e-5
) -> torch.Tensor:
    """Normalised correlation of patches of ``first`` at x and of ``second`` at x + d: [B,(2 reach + 1)^2,H,W].

    From -1 to 1, with each colour's mean taken off, so that a change of brightness or contrast hardly moves it; near 0
    where either patch is flat, and 0 where x + d is outside. d goes row by row. No gradient passes: what is compared is
    the pictures themselves, and a network judges what the comparison is worth.

    Args:
        first, second: float32 [B,C,H,W]; borders are repeated beyond them.
        window: px, the side of the patches; odd.
        smoothing: px, the side of the square over which correlations of one d are averaged; odd, 1 for none.
        noise: variance, summed over C, of what counts as flat.

    >>> first = torch.rand(1, 3, 16, 16)
    >>> costs = patch_correlation(first, first.roll(1, dims=-1), reach=1)    # what stands at x stands at x + 1
    >>> costs[0, :, 8, 8].argmax().item()                                   # the middle row's last
    5
    """
    if reach < 1:
        raise ValueError(f"reach is {reach}; it must be at least 1")
    height, width = first.shape[-2:]
    margin = window // 2
    first, second = _beyond(first.float(), margin), _beyond(second.float(), margin + reach)
    mean, means = (_box(picture, window) for picture in (first, second))
    sharp, sharps = (
        ((_box(picture.square(), window) - middle.square()).sum(dim=1).clamp_min(0) + noise).rsqrt()
        for picture, middle in ((first, mean), (second, means))
    )
    sharps = sharps * F.pad(sharp.new_ones(height, width), (reach,) * 4)
    products, middles, scales = [], [], []
    for top in range(2 * reach + 1):
        for left in range(2 * reach + 1):
            patch = second[..., top : top + height + 2 * margin, left : left + width + 2 * margin]
            products.append((first * patch).sum(dim=1))
            middles.append((mean * means[..., top : top + height, left : left + width]).sum(dim=1))
            scales.append(sharps[..., top : top + height, left : left + width])
    covariance = _box(torch.stack(products, dim=1), window) - torch.stack(middles, dim=1)
    correlation = covariance * sharp[:, None] * torch.stack(scales, dim=1)
    return _box(_beyond(correlation, smoothing // 2), smoothing) if smoothing > 1 else correlation


def local_contrast(image: torch.Tensor, *, window: int = 5) -> torch.Tensor:
    """``image`` [B,C,H,W] less its mean over a square of ``window`` px around each pixel."""
    return image - _box(_beyond(image, window // 2), window)


def _beyond(image: torch.Tensor, margin: int) -> torch.Tensor:
    return F.pad(image, (margin,) * 4, mode="replicate")


def _box(image: torch.Tensor, window: int) -> torch.Tensor:
    return F.avg_pool2d(image, window, stride=1)

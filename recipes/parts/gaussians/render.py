"""Pictures of 2D Gaussians, differentiable, for a whole batch."""

from __future__ import annotations

import torch

NARROWEST = 10.0  # 1/px: drawn no narrower than a tenth of a pixel, where the rounding of the exponent begins to show
EVALUATIONS = 2**24  # of Gaussians at pixels at a time, 64 MiB


def render(
    gaussians: torch.Tensor, *, size: int = 64, side: int = 64, strongest: int | None = 10, eps: float = 1e-4
) -> torch.Tensor:
    """The pictures [B,3,size,size] of ``gaussians`` [B,N,8]; colours are not cut to 0..1.

    A pixel is the mean of the colours of the Gaussians that are strongest at its centre, by their strength there:
    sum of w c / (sum of w + eps), w = exp(-d^2 / 2) (Image-GS, Zhang et al., 2025).

    Args:
        gaussians: as stored, see `recipes.parts.gaussians.form`.
        size: px a side of the pictures.
        side: px a side of the picture that the scales count in; the same picture is made at any ``size``.
        strongest: how many Gaussians make a pixel; None for all.

    >>> red = torch.tensor([[[0.5, 0.5, 0.1, 0.1, 0.0, 1.0, 0.0, 0.0]]])
    >>> [round(colour, 3) for colour in render(red, size=4, side=4)[0, :, 2, 2].tolist()]
    [1.0, 0.0, 0.0]
    """
    count = gaussians.shape[1]
    kept = count if strongest is None else min(strongest, count)
    with torch.autocast(gaussians.device.type, enabled=False):
        gaussians = gaussians.float()
        features, coefficients = _pixels(size, side, gaussians.device), _quadratic(gaussians, side)
        colours = gaussians[..., 5:8]
        at_once = max(1, EVALUATIONS // max(1, coefficients.numel() // 6))
        parts = [_shade(part, coefficients, colours, kept, eps) for part in features.split(at_once)]
        return torch.cat(parts, 1).transpose(1, 2).reshape(len(gaussians), 3, size, size)


def _pixels(size: int, side: int, device: torch.device) -> torch.Tensor:
    """x^2, xy, y^2, x, y, 1 of the pixels' centres, in px from the middle: [size * size, 6]."""
    place = ((torch.arange(size, device=device) + 0.5) / size - 0.5) * side
    y, x = (part.flatten() for part in torch.meshgrid(place, place, indexing="ij"))
    return torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], 1)


def _quadratic(gaussians: torch.Tensor, side: int) -> torch.Tensor:
    """The coefficients [B,6,N] that make -d^2 / 2 of those features: one product of matrices for all pixels."""
    x, y = ((gaussians[..., :2] - 0.5) * side).unbind(-1)
    first, second = gaussians[..., 2:4].abs().clamp_max(NARROWEST).square().unbind(-1)
    cos, sin = gaussians[..., 4].cos(), gaussians[..., 4].sin()
    xx = cos.square() * first + sin.square() * second
    xy = cos * sin * (first - second)
    yy = sin.square() * first + cos.square() * second
    along_x, along_y = xx * x + xy * y, xy * x + yy * y
    rows = [-xx / 2, -xy, -yy / 2, along_x, along_y, -(along_x * x + along_y * y) / 2]
    return torch.stack(rows, 1)


def _shade(
    features: torch.Tensor, coefficients: torch.Tensor, colours: torch.Tensor, kept: int, eps: float
) -> torch.Tensor:
    """Colours [B,P,3] of pixels with ``features`` [P,6]."""
    exponents = features @ coefficients
    if kept == colours.shape[1]:
        weights = exponents.clamp_max(0.0).exp()
        return weights @ colours / (weights.sum(-1, keepdim=True) + eps)
    exponents, which = exponents.topk(kept, dim=-1, sorted=False)
    weights = exponents.clamp_max(0.0).exp()  # rounding may leave an exponent a little above nought
    picked = colours.gather(1, which.flatten(1).unsqueeze(-1).expand(-1, -1, 3)).view(*which.shape, 3)
    return (weights.unsqueeze(-1) * picked).sum(-2) / (weights.sum(-1, keepdim=True) + eps)

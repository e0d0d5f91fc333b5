"""Each segment's motion as one affine map, and how far a flow is from it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from recipes.parts.photometric_losses import masked_mean

EPSILON = 1e-2  # px
LABELS = 64  # numbers of segments: a fixed one, so that no sum has to wait for the device to count them
RIDGE = 0.01  # px squared: keeps the slope of a segment that is a line, or a point, small


class AffineFit(NamedTuple):
    """What `fit_affine` found."""

    flow: torch.Tensor  # [B,2,H,W] px, each pixel's by the map of its segment
    fitted: torch.Tensor  # bool [B,1,H,W], where the segment was large enough for one


@torch.no_grad()
def fit_affine(
    flow: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None = None, *, min_pixels: int = 24
) -> AffineFit:
    """The affine flow nearest to ``flow`` in each segment, by least squares; all segments of a batch at once.

    Args:
        flow: [B,2,H,W] px.
        segments: int64 [B,1,H,W]; below 0, and from ``LABELS`` on, is none.
        mask: bool [B,1,H,W]: the pixels to fit to, all if None. The fit is told for the whole segment.
        min_pixels: segments with fewer pixels to fit to are left out.

    >>> x = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> fit = fit_affine(torch.cat([0.1 * x, 1.0 + 0 * x], dim=1), torch.zeros(1, 1, 8, 8, dtype=torch.int64))
    >>> fit.fitted.all().item(), round((fit.flow[:, 0] - 0.1 * x[:, 0]).abs().max().item(), 2)
    (True, 0.0)
    """
    batch, _, height, width = flow.shape
    if segments.shape != (batch, 1, height, width) or segments.is_floating_point():
        raise ValueError(
            f"flow {tuple(flow.shape)}, segments {segments.dtype} {tuple(segments.shape)}; "
            "wanted [B,2,H,W], and whole numbers [B,1,H,W]"
        )
    known = (segments >= 0) & (segments < LABELS)
    sample = torch.arange(batch, device=flow.device).view(-1, 1, 1, 1)
    index = (sample * LABELS + segments.where(known, 0)).flatten()
    weight = (known if mask is None else known & mask).flatten().float()
    axes = (torch.arange(length, device=flow.device, dtype=torch.float32) for length in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    place = torch.stack([x, y]).flatten(1).repeat(1, batch)  # [2, B H W]
    values = torch.where(mask, flow, 0.0) if mask is not None else flow
    values = values.float().transpose(0, 1).flatten(1)

    def sums(rows: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(rows), batch * LABELS, device=flow.device)
        return total.index_add_(1, index, weight * rows)

    size = sums(torch.ones_like(place[:1]))[0]
    centre, mean = (sums(rows) / size.clamp_min(1) for rows in (place, values))
    away, rest = place - centre[:, index], values - mean[:, index]
    spread = sums(torch.stack([away[0] * away[0], away[0] * away[1], away[1] * away[1]])) / size.clamp_min(1)
    moved = sums((away[:, None] * rest[None]).flatten(0, 1)) / size.clamp_min(1)  # x u, x v, y u, y v
    xx, xy, yy = spread[0] + RIDGE, spread[1], spread[2] + RIDGE
    determinant = xx * yy - xy * xy
    along_x = (yy * moved[:2] - xy * moved[2:]) / determinant  # [2,S]: change of u and v a px of x
    along_y = (xx * moved[2:] - xy * moved[:2]) / determinant
    fit = mean[:, index] + along_x[:, index] * away[0] + along_y[:, index] * away[1]
    fitted = (size >= min_pixels)[index].view_as(known) & known
    return AffineFit(fit.view(2, batch, height, width).transpose(0, 1), fitted)


def segment_consistency(
    flow: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None = None, *, min_pixels: int = 24
) -> torch.Tensor:
    """How far ``flow`` is from one affine motion in each segment: Charbonnier's distance to `fit_affine`, px.

    The mean over all pixels of segments that are large enough, those outside ``mask`` (hidden ones) too, which the fit
    to the others tells how to move. The fit is taken for given, and gets no gradient. 0 where no segment is fitted.
    """
    fit = fit_affine(flow.detach(), segments, mask, min_pixels=min_pixels)
    square = (flow.float() - fit.flow).square().sum(dim=1, keepdim=True)
    return masked_mean((square + EPSILON**2).sqrt() - EPSILON, fit.fitted)

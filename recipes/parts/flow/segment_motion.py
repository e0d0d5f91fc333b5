"""Each segment's motion as one affine map or one homography, and how far a flow is from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from recipes.parts.flow.photometric_losses import masked_mean

EPSILON = 1e-2  # px
LABELS = 64  # numbers of segments: a fixed one, so that no sum has to wait for the device to count them
RIDGE = 0.01  # px squared: keeps the slope of a segment that is a line, or a point, small
PERSPECTIVE_RIDGE = 1e-4  # the same for the two numbers that a homography has beyond an affine map, of no unit
NEAREST = 0.5  # a homography that magnifies some part of its segment by more than twice its middle is not believed


class SegmentFit(NamedTuple):
    """What a fit found."""

    flow: torch.Tensor  # [B,2,H,W] px, each pixel's by the map of its segment
    fitted: torch.Tensor  # bool [B,1,H,W], where the segment was large enough for one


class _Segments:
    """The pixels of all segments of a batch, and means over each of them.

    Attributes:
        index: int64 [N], the segment of each of the N = B H W pixels, of S = B ``LABELS``.
        known: bool [B,1,H,W], where there is a segment; size: [S] pixels to fit to.
        away: [2,N] px, x and y from the middle of the segment; rest: [2,N] px, the flow less its mean there.
        mean: [2,S] px, of the flow; spread: [3,S] px squared, the means of x x, x y and y y.
    """

    def __init__(self, flow: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None):
        batch, _, height, width = flow.shape
        if segments.shape != (batch, 1, height, width) or segments.is_floating_point():
            raise ValueError(
                f"flow {tuple(flow.shape)}, segments {segments.dtype} {tuple(segments.shape)}; "
                "wanted [B,2,H,W], and whole numbers [B,1,H,W]"
            )
        self.shape, self.count = (batch, height, width), batch * LABELS
        self.known = (segments >= 0) & (segments < LABELS)
        sample = torch.arange(batch, device=flow.device).view(-1, 1, 1, 1)
        self.index = (sample * LABELS + segments.where(self.known, 0)).flatten()
        self.weight = (self.known if mask is None else self.known & mask).flatten().float()
        axes = (torch.arange(length, device=flow.device, dtype=torch.float32) for length in (height, width))
        y, x = torch.meshgrid(*axes, indexing="ij")
        place = torch.stack([x, y]).flatten(1).repeat(1, batch)
        values = torch.where(mask, flow, 0.0) if mask is not None else flow
        values = values.float().transpose(0, 1).flatten(1)
        self.size = self._sums(torch.ones_like(place[:1]))[0]
        centre, self.mean = self.means(place), self.means(values)
        self.away, self.rest = place - centre[:, self.index], values - self.mean[:, self.index]
        x, y = self.away
        self.spread = self.means(torch.stack([x * x, x * y, y * y]))

    def means(self, rows: torch.Tensor) -> torch.Tensor:
        """Of [K,N] over the pixels to fit to: [K,S], 0 where a segment has none."""
        return self._sums(rows) / self.size.clamp_min(1).to(rows.dtype)

    def _sums(self, rows: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(rows), self.count, device=rows.device, dtype=rows.dtype)
        return total.index_add_(1, self.index, self.weight.to(rows.dtype) * rows)

    def fit(self, moved: torch.Tensor, min_pixels: int) -> SegmentFit:
        """Flows [2,N] as a `SegmentFit`."""
        batch, height, width = self.shape
        fitted = (self.size >= min_pixels)[self.index].view_as(self.known) & self.known
        return SegmentFit(moved.view(2, batch, height, width).transpose(0, 1), fitted)


def _affine(pixels: _Segments) -> torch.Tensor:
    """The nearest affine flow [2,N] in px."""
    away, rest = pixels.away, pixels.rest
    moved = pixels.means((away[:, None] * rest[None]).flatten(0, 1))  # x u, x v, y u, y v
    xx, xy, yy = pixels.spread[0] + RIDGE, pixels.spread[1], pixels.spread[2] + RIDGE
    determinant = xx * yy - xy * xy
    along_x = (yy * moved[:2] - xy * moved[2:]) / determinant  # [2,S]: change of u and v a px of x
    along_y = (xx * moved[2:] - xy * moved[:2]) / determinant
    fit = pixels.mean[:, pixels.index]
    return fit + along_x[:, pixels.index] * away[0] + along_y[:, pixels.index] * away[1]


@torch.no_grad()
def fit_affine(
    flow: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None = None, *, min_pixels: int = 24
) -> SegmentFit:
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
    pixels = _Segments(flow, segments, mask)
    return pixels.fit(_affine(pixels), min_pixels)


@torch.no_grad()
def fit_homography(
    flow: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None = None, *, min_pixels: int = 24
) -> SegmentFit:
    """The homography nearest to ``flow`` in each segment: how a plane moves; arguments as of `fit_affine`.

    The direct linear transform in coordinates of each segment's own middle and size (Hartley, 1997), by the eight
    numbers in which it differs from no change, so that a ridge pulls what a small or flat segment leaves open towards
    a translation. Where it is not nearer to the flow than the affine map, or magnifies a part of its segment beyond
    reason, the affine map is taken.

    >>> x = torch.arange(-16.0, 16.0).expand(1, 1, 32, 32)
    >>> flow = torch.cat([x / (1 + 0.005 * x) - x, x.mT / (1 + 0.005 * x) - x.mT], dim=1)
    >>> nowhere = torch.zeros(1, 1, 32, 32, dtype=torch.int64)
    >>> [round((fit(flow, nowhere).flow - flow).abs().max().item(), 1) for fit in (fit_homography, fit_affine)]
    [0.0, 1.3]
    """
    pixels = _Segments(flow, segments, mask)
    affine = _affine(pixels)
    homography, least = _homography(pixels)
    target = pixels.mean[:, pixels.index] + pixels.rest
    far, near = (pixels.means((moved - target).square().sum(dim=0, keepdim=True))[0] for moved in (affine, homography))
    good = (near < far) & (least > NEAREST)  # not, where one of them is NaN
    return pixels.fit(torch.where(good[pixels.index], homography, affine), min_pixels)


def _homography(pixels: _Segments) -> tuple[torch.Tensor, torch.Tensor]:
    """Flows [2,N] in px, and the smallest denominator in each segment [S]: 1 is at its middle, 0 at infinity.

    With D the change of the map, x and y before, p and q after, u and v the flow, less its mean and in units of the
    segment's size: D0 x + D1 y + D2 - (D6 x + D7 y) p = u, and the same of D3, D4, D5 with q and v.
    """
    dtype = torch.float64 if pixels.away.device.type != "mps" else torch.float32
    scale = ((pixels.spread[0] + pixels.spread[2]) / 2 + RIDGE).sqrt()  # [S] px
    size = scale[pixels.index]
    (x, y), (u, v) = ((part / size).to(dtype) for part in (pixels.away, pixels.rest))
    p, q = x + u, y + v

    def mean(row: torch.Tensor) -> torch.Tensor:  # one by one: a row of a large batch is large
        return pixels.means(row[None])[0]

    xx, xy, yy = ((part / scale.square()).to(dtype) for part in pixels.spread)
    square, turn = p * p + q * q, p * u + q * v
    nought, one = torch.zeros_like(xx), torch.ones_like(xx)
    own = _rows([[xx, xy, nought], [xy, yy, nought], [nought, nought, one]])
    with_p, with_q = (
        -_rows(
            [[mean(x * x * to), mean(x * y * to)], [mean(x * y * to), mean(y * y * to)], [mean(x * to), mean(y * to)]]
        )
        for to in (p, q)
    )
    both = _rows([[mean(x * x * square), mean(x * y * square)], [mean(x * y * square), mean(y * y * square)]])
    empty = torch.zeros_like(own)
    left = torch.cat(
        [
            torch.cat([own, empty, with_p], dim=2),
            torch.cat([empty, own, with_q], dim=2),
            torch.cat([with_p.mT, with_q.mT, both], dim=2),
        ],
        dim=1,
    )
    right = torch.stack(
        [mean(x * u), mean(y * u), nought, mean(x * v), mean(y * v), nought, -mean(x * turn), -mean(y * turn)], dim=1
    )
    slope = (RIDGE / scale.square()).to(dtype)
    ridge = torch.stack([slope, slope, nought, slope, slope, nought, *[PERSPECTIVE_RIDGE * one] * 2], dim=1)
    change, _ = torch.linalg.solve_ex(left + torch.diag_embed(ridge), right)  # checks nothing, so it does not wait
    d = change.T[:, pixels.index]
    below = 1 + d[6] * x + d[7] * y
    least = torch.full_like(scale, torch.inf)
    least.scatter_reduce_(0, pixels.index, below.where(pixels.known.flatten(), torch.inf).float(), "amin")
    safe = below.where(below > NEAREST, 1.0)
    moved = torch.stack([(x + d[0] * x + d[1] * y + d[2]) / safe - x, (y + d[3] * x + d[4] * y + d[5]) / safe - y])
    return pixels.mean[:, pixels.index] + (moved * size).float(), least


def _rows(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    """A matrix [S,R,C] of entries [S]."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


FITS = {"affine": fit_affine, "homography": fit_homography}


def segment_consistency(
    flow: torch.Tensor,
    segments: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    model: Literal["affine", "homography"] = "affine",
    min_pixels: int = 24,
) -> torch.Tensor:
    """How far ``flow`` is from one motion in each segment: Charbonnier's distance to the fit of ``model``, px.

    The mean over all pixels of segments that are large enough, those outside ``mask`` (hidden ones) too, which the fit
    to the others tells how to move. The fit is taken for given, and gets no gradient. 0 where no segment is fitted.
    """
    fit = FITS[model](flow.detach(), segments, mask, min_pixels=min_pixels)
    square = (flow.float() - fit.flow).square().sum(dim=1, keepdim=True)
    return masked_mean((square + EPSILON**2).sqrt() - EPSILON, fit.fitted)

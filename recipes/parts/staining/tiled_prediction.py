"""Maps of pictures too large for a network's memory, from overlapping tiles and without seams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch

from recipes.parts.staining.unet import pad_to


def predict_in_tiles(
    predict: Callable[[torch.Tensor], torch.Tensor], picture: torch.Tensor, *, tile: int, halo: int, stride: int
) -> torch.Tensor:
    """``predict`` of ``picture`` [B,C,H,W], tile by tile: [B,out,H,W], without gradient.

    Tiles stand on multiples of ``stride``, so that pooling meets the same pixels in each as in the whole. Of a tile the
    ``halo`` px next to an edge that is not the picture's own are not used; over the next ``halo`` px its weight rises
    from 0 to 1, and what tiles say there is blended. So the result is that of the whole picture where ``halo`` is at
    least as far as the network sees, and goes over smoothly from tile to tile where it is less.

    Args:
        tile: height and width of a tile, px. A picture that is no larger is predicted at once.
        halo: px.
        stride: px, of the network.

    Raises:
        ValueError: the tile is too small for its halo.

    >>> blur = torch.nn.AvgPool2d(5, stride=1, padding=2, count_include_pad=False)
    >>> picture = torch.rand(1, 2, 72, 92)
    >>> torch.allclose(predict_in_tiles(blur, picture, tile=32, halo=4, stride=4), blur(picture), atol=1e-6)
    True
    """
    check_tiles(tile=tile, halo=halo, stride=stride)
    height, width = picture.shape[-2:]
    with torch.inference_mode():
        if height <= tile and width <= tile:
            return predict(picture)
        padded = pad_to(picture, stride)
        tall, wide = padded.shape[-2:]
        total, weight = padded.new_zeros(0), padded.new_zeros(tall, wide)
        for top, left in product(_starts(tall, tile, halo, stride), _starts(wide, tile, halo, stride)):
            place = (..., slice(top, top + tile), slice(left, left + tile))
            part = predict(padded[place])
            down, across = (
                _ramp(*axis, halo, part) for axis in ((top, part.shape[-2], tall), (left, part.shape[-1], wide))
            )
            if not total.numel():
                total = part.new_zeros(*part.shape[:2], tall, wide)
            total[place] += part * down[:, None] * across
            weight[place] += down[:, None] * across
        return (total / weight)[..., :height, :width]


def check_tiles(*, tile: int, halo: int, stride: int) -> None:
    """Raise ValueError unless tiles of this size (px) have something left within their halo, for such a network."""
    if halo < 0 or tile < 4 * halo + stride or tile % stride:
        raise ValueError(f"tile is {tile} px; it must be a multiple of {stride} and at least 4 x {halo} + {stride}")


def _starts(length: int, tile: int, halo: int, stride: int) -> list[int]:
    """Where tiles begin: neighbours share 3 halos, so that where the one's weight falls the other's rises."""
    if length <= tile:
        return [0]
    step = max((tile - 3 * halo) // stride * stride, stride)
    return sorted({*range(0, length - tile, step), length - tile})


def _ramp(start: int, size: int, length: int, halo: int, like: torch.Tensor) -> torch.Tensor:
    """A tile's weight along one axis, [size]: 1, falling to 0 towards edges that are not the picture's own."""
    place = torch.arange(size, dtype=torch.float32, device=like.device) + 0.5
    away = torch.full_like(place, torch.inf)
    if start > 0:
        away = torch.minimum(away, place)
    if start + size < length:
        away = torch.minimum(away, size - place)
    return ((away - halo) / max(halo, 1)).clamp(0.0, 1.0)

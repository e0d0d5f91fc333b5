"""Segments of a picture where nobody gives any: connected regions of nearly one colour."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from recipes.parts.flow.segment_motion import LABELS


def colour_segments(image: torch.Tensor, *, levels: int = 6, max_side: int = 256) -> torch.Tensor:
    """Connected regions of one colour, each channel rounded to ``levels`` steps: int64 [1,H,W], the largest is 0.

    Of pictures larger than ``max_side`` px a smaller copy is looked at. What is not among the largest is -1.

    Args:
        image: uint8 [3,H,W].

    >>> image = torch.zeros(3, 4, 6, dtype=torch.uint8)
    >>> image[:, :, 4:] = 255
    >>> colour_segments(image)[0, 0].tolist()
    [0, 0, 0, 0, 1, 1]
    """
    size = image.shape[-2:]
    factor = max(1, -(-max(size) // max_side))
    small = F.avg_pool2d(image[None].float(), factor, ceil_mode=True)[0] if factor > 1 else image.float()
    steps = (small / 256 * levels).long()
    code = (steps[0] * levels + steps[1]) * levels + steps[2]
    labels = largest_first(torch.from_numpy(_connected(code.numpy()))[None])
    return F.interpolate(labels[None].float(), scale_factor=float(factor), mode="nearest")[
        0, :, : size[0], : size[1]
    ].long()


def largest_first(labels: torch.Tensor, *, count: int = LABELS) -> torch.Tensor:
    """``labels`` int64 [1,H,W] numbered by size, 0 the largest; those below 0 and beyond ``count`` become -1.

    >>> largest_first(torch.tensor([[[900, 7, 7, -3]]])).tolist()
    [[[1, 0, 0, -1]]]
    """
    numbers, index, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    sizes = torch.where(numbers < 0, -1, sizes)
    order = sizes.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    rank = torch.where((rank < count) & (numbers >= 0), rank, -1)
    return rank[index]


def _connected(code: np.ndarray) -> np.ndarray:
    """Labels [H,W] of regions of equal ``code`` [H,W] that hang together by sides of pixels."""
    height, width = code.shape
    number = np.arange(height * width).reshape(height, width)
    pairs = [
        (number[:, :-1][code[:, :-1] == code[:, 1:]], number[:, 1:][code[:, :-1] == code[:, 1:]]),
        (number[:-1][code[:-1] == code[1:]], number[1:][code[:-1] == code[1:]]),
    ]
    one, other = (np.concatenate(ends) for ends in zip(*pairs))
    root = number.ravel().copy()
    while True:  # each pixel points to a lower one of its region; the ends of every edge come to share the lowest
        low = np.minimum(root[one], root[other])
        before = root.copy()
        np.minimum.at(root, root[one], low)
        np.minimum.at(root, root[other], low)
        while (root[root] != root).any():
            root = root[root]
        if (root == before).all():
            return root.reshape(height, width)

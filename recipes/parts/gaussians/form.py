"""The eight numbers of a 2D Gaussian, the forms a network learns them in, and their statistics.

Stored, as fits of images by Gaussians are (Image-GS, Zhang et al., 2025): x, y in 0..1 of the picture; the inverses of
both standard deviations, 1/px; the angle of the first axis in rad, from x towards y, which points down; and the colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

NUMBERS = 8
XY, INVERSE_SCALES, ANGLE, COLOUR = slice(0, 2), slice(2, 4), 4, slice(5, 8)
GROUPS = ("xy", "scale", "rotation", "colour")
WIDEST, NARROWEST = 1e3, 1e-2  # px: standard deviations beyond have no meaning in a picture, and no finite logarithm


class Form(Protocol):
    """How Gaussians are written for a network: ``columns`` numbers each, in ``groups`` by name."""

    columns: int
    groups: Mapping[str, slice]

    def encode(self, gaussians: torch.Tensor) -> torch.Tensor: ...

    def decode(self, columns: torch.Tensor) -> torch.Tensor: ...

    def weights(self, columns: torch.Tensor) -> torch.Tensor: ...


class StoredForm:
    """The eight numbers as they are. One Gaussian has many: its axes may be exchanged, and its angle turned by 180°."""

    columns = NUMBERS
    groups: Mapping[str, slice] = {"xy": XY, "scale": INVERSE_SCALES, "rotation": slice(4, 5), "colour": COLOUR}

    def encode(self, gaussians: torch.Tensor) -> torch.Tensor:
        return gaussians

    def decode(self, columns: torch.Tensor) -> torch.Tensor:
        return columns

    def weights(self, columns: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(columns)


class CanonicalForm:
    """Nine numbers [...,9], the same for all ways to store one Gaussian: x, y, log of the larger and of the smaller
    standard deviation (px), cos 2t and sin 2t of the larger one's angle t, red, green, blue.

    An angle and the same turned by half a turn are one; a number that jumps there cannot be learned, these two do not.
    The angle of a Gaussian that is nearly round says nothing: it counts by how long the Gaussian is (`weights`).

    >>> upright, lying = torch.tensor([[0.5, 0.5, 0.25, 0.5, torch.pi / 2, 1, 0, 0], [0.5, 0.5, 0.5, 0.25, 0, 1, 0, 0]])
    >>> form = CanonicalForm()
    >>> torch.allclose(form.encode(upright), form.encode(lying), atol=1e-6)
    True
    """

    columns = 9
    groups: Mapping[str, slice] = {
        "xy": slice(0, 2),
        "scale": slice(2, 4),
        "rotation": slice(4, 6),
        "colour": slice(6, 9),
    }

    def encode(self, gaussians: torch.Tensor) -> torch.Tensor:
        """[...,8] as stored to [...,9]."""
        inverse = gaussians[..., INVERSE_SCALES].abs().clamp(1 / WIDEST, 1 / NARROWEST)
        first, second = inverse.unbind(-1)
        angle = gaussians[..., ANGLE] + torch.where(first <= second, 0.0, math.pi / 2)
        scales = -torch.stack([torch.minimum(first, second), torch.maximum(first, second)], -1).log()
        double = torch.stack([(2 * angle).cos(), (2 * angle).sin()], -1)
        return torch.cat([gaussians[..., XY], scales, double, gaussians[..., COLOUR]], -1)

    def decode(self, columns: torch.Tensor) -> torch.Tensor:
        """[...,9] to [...,8] as stored, with an angle in -90°..90°. (cos, sin) may have any length but nought."""
        inverse = (-columns[..., 2:4].clamp(math.log(NARROWEST), math.log(WIDEST))).exp()
        cos, sin = columns[..., 4], columns[..., 5]
        undirected = (cos.square() + sin.square()) < 1e-12  # there the angle has no gradient that is finite
        angle = torch.atan2(torch.where(undirected, 0.0, sin), torch.where(undirected, 1.0, cos)) / 2
        return torch.cat([columns[..., XY], inverse, angle.unsqueeze(-1), columns[..., 6:9]], -1)

    def weights(self, columns: torch.Tensor) -> torch.Tensor:
        """How much each number counts, [...,9]: 1, and for cos and sin one minus the ratio of the axes."""
        weights = torch.ones_like(columns)
        weights[..., 4:6] = (1 - (columns[..., 3:4] - columns[..., 2:3]).exp()).clamp(0.0, 1.0)
        return weights


FORMS: Mapping[str, Form] = {"stored": StoredForm(), "canonical": CanonicalForm()}


class ColumnStatistics(nn.Module):
    """Weighted mean and standard deviation of each column, kept with a model's weights.

    >>> statistics = ColumnStatistics(2)
    >>> statistics.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    >>> statistics.normalise(torch.tensor([[3.0, 5.0]]))
    tensor([[1., 0.]])
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, columns: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("std", torch.ones(columns))

    def fit(self, columns: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """Take those of ``columns`` [...,C]. A column that does not vary, or never counts, is left at its scale.

        Raises:
            ValueError: numbers that are not finite.
        """
        columns = columns.double().flatten(0, -2)
        weights = torch.ones_like(columns) if weights is None else weights.double().flatten(0, -2)
        if not columns.isfinite().all():
            raise ValueError("numbers that are not finite have no mean; look for them in the training data")
        total = weights.sum(0).clamp_min(1e-12)
        mean = (weights * columns).sum(0) / total
        std = ((weights * (columns - mean).square()).sum(0) / total).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def normalise(self, columns: torch.Tensor) -> torch.Tensor:
        return (columns - self.mean) / self.std

    def restore(self, normalised: torch.Tensor) -> torch.Tensor:
        return normalised * self.std + self.mean

    def extra_repr(self) -> str:
        return f"columns={len(self.mean)}"


def check_gaussians(gaussians: Any) -> torch.Tensor:
    """``gaussians`` as float32 [N,8].

    Raises:
        ValueError: another shape, or rows that are not finite; names the first.
    """
    gaussians = torch.as_tensor(gaussians).float()
    if gaussians.ndim != 2 or gaussians.shape[1] != NUMBERS:
        raise ValueError(f"Gaussians have shape {tuple(gaussians.shape)}; expected (count, {NUMBERS})")
    bad = (~gaussians.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"{len(bad)} of {len(gaussians)} Gaussians are not finite, the first in row {bad[0]}")
    return gaussians

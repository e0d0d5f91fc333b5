"""Encoders and decoders of sequences of Gaussians: convolutions along the sequence, plain or residual, or on a grid."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def conv1d_encoder(columns: int, *, places: int = 16) -> nn.Sequential:
    """Columns [B,C,N] to features [B,512]: three convolutions of 32, 64 and 128 channels, pooled, and a dense layer.

    Args:
        places: averages over so many parts of the sequence; 1 is one average over all, which forgets what was where.
    """
    layers: list[nn.Module] = []
    for before, after, dropout in ((columns, 32, 0.1), (32, 64, 0.15), (64, 128, 0.2)):
        layers += [nn.Conv1d(before, after, 5, padding=2), nn.BatchNorm1d(after), nn.ELU(), nn.Dropout(dropout)]
        layers += [nn.MaxPool1d(2)] if after < 128 else []
    layers += [nn.AdaptiveAvgPool1d(places), nn.Flatten(), nn.Linear(128 * places, 512), nn.ELU()]
    return nn.Sequential(*layers)


def conv1d_decoder(columns: int, *, latent: int, count: int) -> nn.Sequential:
    """A code [B,latent] to columns [B,C,count]: dense layers, convolutions of 64, 32 and 16 channels, two upsamplings.

    Raises:
        ValueError: ``count`` is no multiple of 4.
    """
    if count % 4:
        raise ValueError(f"{count} Gaussians; this decoder makes a multiple of 4")
    layers: list[nn.Module] = [nn.Linear(latent, 512), nn.ELU(), nn.Linear(512, 4 * count), nn.ELU()]
    layers += [nn.Unflatten(1, (16, count // 4))]
    for before, after in ((16, 64), (64, 32), (32, 16)):
        layers += [nn.Conv1d(before, after, 5, padding=2), nn.BatchNorm1d(after), nn.ELU()]
        layers += [nn.Upsample(scale_factor=2)] if after > 16 else []
    return nn.Sequential(*layers, nn.Conv1d(16, columns, 1))


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, normalised before them (He et al., 2016), in one or two dimensions."""

    def __init__(self, channels: int, *, dimensions: int = 1, kernel: int = 3):
        super().__init__()
        conv = nn.Conv1d if dimensions == 1 else nn.Conv2d
        self.first_norm, self.second_norm = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.first = conv(channels, channels, kernel, padding=kernel // 2)
        self.second = conv(channels, channels, kernel, padding=kernel // 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = self.first(F.silu(self.first_norm(features)))
        return features + self.second(F.silu(self.second_norm(inner)))


class ResidualEncoder(nn.Module):
    """Columns [B,C,N] to features [B,512]: residual blocks at a half of the resolution and less, then dense.

    Args:
        channels: at a half of the resolution, a quarter, and so on.
        grid: (rows, columns) to put a sequence in the balanced order on, see `fold`; None keeps it a sequence.
        keep_position: False averages over what is left of the places.
    """

    def __init__(
        self,
        columns: int,
        *,
        count: int,
        channels: tuple[int, ...],
        grid: tuple[int, int] | None = None,
        keep_position: bool = True,
    ):
        super().__init__()
        conv, dimensions = (nn.Conv1d, 1) if grid is None else (nn.Conv2d, 2)
        self.grid = grid
        layers: list[nn.Module] = []
        for before, after in zip([columns, *channels], channels):
            layers += [conv(before, after, 4, stride=2, padding=1), ResidualBlock(after, dimensions=dimensions)]
        left = _left(count, grid, len(channels)) if keep_position else 1
        if not keep_position:
            layers.append(nn.AdaptiveAvgPool1d(1) if grid is None else nn.AdaptiveAvgPool2d(1))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.SiLU(), nn.Linear(channels[-1] * left, 512), nn.SiLU())

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(columns if self.grid is None else fold(columns))
        return features


class ResidualDecoder(nn.Module):
    """A code [B,latent] to columns [B,C,count]: dense, then residual blocks at rising resolution.

    What is the same for all sets at a place of the sequence is a parameter of its own.

    Args:
        channels, grid: as the encoder's.
    """

    def __init__(
        self, columns: int, *, latent: int, count: int, channels: tuple[int, ...], grid: tuple[int, int] | None = None
    ):
        super().__init__()
        conv, dimensions = (nn.Conv1d, 1) if grid is None else (nn.Conv2d, 2)
        self.grid = grid
        left = _left(count, grid, len(channels))
        smallest = (left,) if grid is None else tuple(side // 2 ** len(channels) for side in grid)
        layers: list[nn.Module] = [nn.Linear(latent, channels[-1] * left), nn.Unflatten(1, (channels[-1], *smallest))]
        for before, after in zip(reversed(channels), [*reversed(channels[:-1]), channels[0] // 2]):
            layers += [ResidualBlock(before, dimensions=dimensions), nn.Upsample(scale_factor=2)]
            layers += [conv(before, after, 3, padding=1)]
        layers += [nn.GroupNorm(8, channels[0] // 2), nn.SiLU(), conv(channels[0] // 2, columns, 3, padding=1)]
        self.layers = nn.Sequential(*layers)
        self.usual = nn.Parameter(torch.zeros(columns, count))

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(code)
        return (features if self.grid is None else unfold(features)) + self.usual


def _left(count: int, grid: tuple[int, int] | None, halvings: int) -> int:
    """The places that are left after so many halvings.

    Raises:
        ValueError: the sequence, or the grid's shorter side, cannot be halved so often.
    """
    if (count if grid is None else min(grid)) % 2**halvings:
        raise ValueError(f"{count} Gaussians cannot be halved {halvings} times{' each way' if grid else ''}")
    return count // 2 ** (halvings * (1 if grid is None else 2))


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns of the grid that the balanced order of ``count`` points makes.

    Raises:
        ValueError: ``count`` is no power of two.

    >>> grid_of(512)
    (16, 32)
    """
    levels = count.bit_length() - 1
    if count != 2**levels or levels < 2:
        raise ValueError(f"{count} Gaussians make no grid; a power of two does")
    return 2 ** (levels // 2), 2 ** (levels - levels // 2)


def fold(sequence: torch.Tensor) -> torch.Tensor:
    """A sequence [B,C,N] in the balanced order as a grid [B,C,rows,columns]: neighbours in the plane are neighbours.

    The order halves across, then down, and so on: the bits of a place are those of its column and row by turns.

    >>> fold(torch.arange(8.0).view(1, 1, 8))[0, 0].tolist()
    [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    batch, channels, count = sequence.shape
    levels = count.bit_length() - 1
    bits = sequence.reshape(batch, channels, *[2] * levels)
    rows, across = [2 + bit for bit in range(1, levels, 2)], [2 + bit for bit in range(0, levels, 2)]
    return bits.permute(0, 1, *rows, *across).reshape(batch, channels, *grid_of(count))


def unfold(grid: torch.Tensor) -> torch.Tensor:
    """The inverse of `fold`."""
    batch, channels, rows, columns = grid.shape
    levels, down = (rows * columns).bit_length() - 1, rows.bit_length() - 1
    bits = grid.reshape(batch, channels, *[2] * levels)
    places = [2 + (bit // 2 if bit % 2 else down + bit // 2) for bit in range(levels)]
    return bits.permute(0, 1, *places).reshape(batch, channels, -1)

"""A fixed bank of procedural textures in one atlas, to be sampled at sub-pixel places."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

TILE = 256  # texels a side
COLUMNS = 7  # tiles a row of the atlas; a square one keeps the float32 coordinates of grid_sample exact to 1/1000 texel
TILES = COLUMNS * COLUMNS
_PITCH = TILE + 1  # a tile repeats, so its first row and column stand once more behind its last


@lru_cache(maxsize=1)
def texture_atlas() -> torch.Tensor:
    """The atlas, float32 [1, 3, 7 * 257, 7 * 257] in 0..1: 49 textures, always the same ones; made once, in a second.

    A third is noise with a power law spectrum, a third "dead leaves" (shapes of all sizes hiding each other, which have
    the statistics of photographs: Lee, Mumford and Huang, 2001), the rest noise cut into flat patches, and stripes.
    """
    generator = np.random.default_rng(20010)
    makers = (_noise, _leaves, _patches, _noise, _leaves, _stripes)
    atlas = np.empty((COLUMNS * _PITCH, COLUMNS * _PITCH, 3), np.float32)
    for index in range(TILES):
        tile = np.pad(_normalised(makers[index % len(makers)](generator)), ((0, 1), (0, 1), (0, 0)), mode="wrap")
        row, column = divmod(index, COLUMNS)
        atlas[row * _PITCH : (row + 1) * _PITCH, column * _PITCH : (column + 1) * _PITCH] = tile
    return torch.from_numpy(atlas).permute(2, 0, 1)[None].contiguous()


def tile_corner(tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in the atlas where textures number ``tile`` (0..48) begin."""
    row, column = np.divmod(tile, COLUMNS)
    return column * _PITCH, row * _PITCH


def sample_textures(corner_x: np.ndarray, corner_y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Textures at texel column ``u`` and row ``v``, float32 [H,W], bilinear: [3,H,W] in 0..1.

    Textures repeat every 256 texels.

    Args:
        corner_x, corner_y: of each pixel's texture, [H,W] of ``tile_corner``.
    """
    grid = np.empty((1, *u.shape, 2), np.float32)
    for axis, (place, corner) in enumerate(((u, corner_x), (v, corner_y))):
        turns = np.floor(place * np.float32(1 / TILE))
        np.add(place - turns * np.float32(TILE), corner, out=turns)
        np.multiply(turns, np.float32(2 / (COLUMNS * _PITCH - 1)), out=turns)
        np.subtract(turns, np.float32(1), out=grid[0, ..., axis])
    return F.grid_sample(texture_atlas(), torch.from_numpy(grid), align_corners=True)[0].numpy()


def _normalised(tile: np.ndarray) -> np.ndarray:
    """``tile`` with mean 0.5 and standard deviation 0.2, cut to 0..1."""
    tile = (tile - tile.mean()) / (tile.std() + 1e-6)
    return np.clip(0.5 + 0.2 * tile, 0, 1).astype(np.float32)


def _spectrum(generator: np.random.Generator, exponent: float, channels: int) -> np.ndarray:
    """Noise [TILE, TILE, channels] with amplitude 1 / frequency^exponent; it repeats without a seam."""
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(generator.standard_normal((TILE, TILE, channels)), axes=(0, 1))
    noise = np.fft.irfft2(white * (frequency**-exponent)[..., None], s=(TILE, TILE), axes=(0, 1))
    return noise / noise.std()


def _noise(generator: np.random.Generator) -> np.ndarray:
    exponent = generator.uniform(0.4, 1.6)
    colour = generator.uniform(0.1, 0.7)
    return _spectrum(generator, exponent, 1) + colour * _spectrum(generator, exponent, 3)


def _patches(generator: np.random.Generator) -> np.ndarray:
    levels = np.floor(_spectrum(generator, generator.uniform(1.2, 2.0), 1)[..., 0] * generator.uniform(1.5, 4)).astype(
        int
    )
    return generator.random((64, 3))[levels % 64] + 0.05 * _spectrum(generator, 0.8, 3)


def _stripes(generator: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:TILE, :TILE] * (2 * np.pi / TILE)
    wave = np.zeros((TILE, TILE))
    for _ in range(generator.integers(1, 3)):
        phase = generator.integers(-24, 25) * x + generator.integers(-24, 25) * y + generator.uniform(0, 6)
        wave += np.tanh(generator.uniform(0.5, 5) * np.sin(phase))
    return wave[..., None] * generator.uniform(0.3, 1, 3) + 0.6 * _spectrum(generator, 1.2, 3)


def _leaves(generator: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((TILE, TILE, 3)) + generator.random(3)
    palette = generator.random((6, 3))
    smallest = generator.uniform(2, 6)
    for _ in range(500):
        radius = min(smallest / generator.random() ** 0.7, 60)
        aspect = generator.uniform(0.5, 2)
        half_h, half_w = int(np.ceil(radius * aspect)), int(np.ceil(radius / aspect))
        row, column = generator.integers(0, TILE, 2)
        y, x = np.mgrid[-half_h : half_h + 1, -half_w : half_w + 1]
        power = 2 if generator.random() < 0.6 else 8  # an ellipse or nearly a box
        inside = (np.abs(x) / (half_w + 0.5)) ** power + (np.abs(y) / (half_h + 0.5)) ** power < 1
        colour = palette[generator.integers(6)] + 0.15 * generator.standard_normal(3)
        canvas[(row + y[inside]) % TILE, (column + x[inside]) % TILE] = colour
    return canvas + 0.06 * _spectrum(generator, 0.7, 3)

"""Procedural pictures of shapes on textured ground, with boxes, for detection."""

from __future__ import annotations

import numpy as np
import torch

from recipes.parts.drawn import DrawnDataset
from recipes.parts.texture_bank import TILES, sample_textures, tile_corner

SHAPES = ("disc", "box", "triangle", "cross")
EMPTY = 0.1  # share of pictures without a shape
LEAST_SEEN = 0.6  # of a shape is seen, else the one that hides it is left out


class ProceduralShapes(DrawnDataset):
    """``count`` pictures with discs, boxes, triangles and crosses, each of its own size, some of them empty.

    A sample is that of `recipes.parts.detection.boxed_picture`: ``image``, ``boxes``, ``labels`` (into ``SHAPES``),
    ``crowd``, ``scale``. A box is as tight as what is seen of its shape: others may hide up to 40 % of it, and the
    border of the picture may cut it. Height and width are drawn for each picture, so a batch always has padding.

    Args:
        sides: the shortest and the longest side in px.
        crowded: 6 to 16 shapes close to each other and over each other, and not 1 to 6 anywhere.
        seed, fixed: see `DrawnDataset`.

    >>> sample = ProceduralShapes(4, fixed=True)[1]
    >>> sample["boxes"].shape[0] == len(sample["labels"]), sample["image"].shape[0]
    (True, 3)
    """

    classes = SHAPES

    def __init__(
        self,
        count: int,
        *,
        sides: tuple[int, int] = (64, 96),
        crowded: bool = False,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        if not 32 <= sides[0] <= sides[1]:
            raise ValueError(f"sides are {sides} px; the shortest is at least 32 px and not above the longest")
        super().__init__(count, seed=seed, fixed=fixed, kind=int(crowded))
        self.sides, self.crowded = sides, crowded

    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        height, width = (int(side) for side in generator.integers(self.sides[0], self.sides[1] + 1, 2))
        picture = _ground(generator, height, width)
        owner = np.full((height, width), -1)
        labels: list[int] = []
        pixels: list[int] = []
        for centre, radius in _places(generator, height, width, crowded=self.crowded):
            label = int(generator.integers(len(SHAPES)))
            rows, columns, cover = _shape(generator, label, centre, radius, height, width)
            inside = cover > 0.5
            if inside.sum() < 40 or not _leaves_enough(owner[rows, columns], inside, pixels, owner):
                continue
            colour = _contrasting(generator, picture[:, rows, columns])
            picture[:, rows, columns] += cover * (colour - picture[:, rows, columns])
            owner[rows, columns][inside] = len(labels)
            labels.append(label)
            pixels.append(int(inside.sum()))
        picture += np.float32(0.03) * generator.standard_normal(picture.shape, dtype=np.float32)
        boxes = [_extent(owner == number) for number in range(len(labels))]
        return {
            "image": torch.from_numpy(picture.clip(0, 1)),
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "crowd": torch.zeros(len(labels), dtype=torch.bool),
            "scale": torch.ones(2),
        }


def _ground(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A texture, turned and scaled, paler than it is in the bank: [3,H,W] in 0..1."""
    turn, zoom = generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 1.5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = zoom * (np.cos(turn) * x - np.sin(turn) * y) + generator.uniform(0, 256)
    v = zoom * (np.sin(turn) * x + np.cos(turn) * y) + generator.uniform(0, 256)
    corner_x, corner_y = tile_corner(np.full((height, width), generator.integers(TILES)))
    texture = sample_textures(corner_x, corner_y, u.astype(np.float32), v.astype(np.float32))
    colour = generator.uniform(0.2, 0.8, (3, 1, 1)).astype(np.float32)
    return colour + np.float32(generator.uniform(0.2, 0.6)) * (texture - np.float32(0.5))


def _places(
    generator: np.random.Generator, height: int, width: int, *, crowded: bool
) -> list[tuple[np.ndarray, float]]:
    """Centres (y, x) and radii in px."""
    if generator.random() < EMPTY:
        return []
    size = np.array([height, width])
    if not crowded:
        count = generator.integers(1, 7)
        radii = np.exp(generator.uniform(np.log(8), np.log(22), count))
        return [(generator.uniform(0.05, 0.95, 2) * size, float(radius)) for radius in radii]
    count, heart = generator.integers(6, 17), generator.uniform(0.35, 0.65, 2) * size
    radii = np.exp(generator.uniform(np.log(8), np.log(16), count))
    return [(heart + 0.22 * size * generator.standard_normal(2), float(radius)) for radius in radii]


def _shape(
    generator: np.random.Generator, label: int, centre: np.ndarray, radius: float, height: int, width: int
) -> tuple[slice, slice, np.ndarray]:
    """The window of a turned shape, and how much of each pixel in it the shape covers, float32 in 0..1."""
    reach = int(np.ceil(1.5 * radius)) + 1
    top, left = (int(np.floor(value)) - reach for value in centre)
    # A shape far outside has an empty window.
    rows = slice(*np.clip((top, top + 2 * reach + 1), 0, height).tolist())
    columns = slice(*np.clip((left, left + 2 * reach + 1), 0, width).tolist())
    y, x = np.mgrid[rows, columns].astype(np.float32)
    angle, aspect = generator.uniform(0, 2 * np.pi), generator.uniform(0.75, 1.35)
    dy, dx = y + 0.5 - centre[0], x + 0.5 - centre[1]
    along, across = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    long, short = radius * aspect**0.5, radius / aspect**0.5
    if SHAPES[label] == "disc":
        distance = (np.hypot(along / long, across / short) - 1) * radius
    elif SHAPES[label] == "box":
        distance = np.maximum(np.abs(along) - 0.85 * long, np.abs(across) - 0.85 * short)
    elif SHAPES[label] == "triangle":
        sides = [np.cos(turn) * along / long + np.sin(turn) * across / short for turn in np.arange(3) * 2 * np.pi / 3]
        distance = (np.max(sides, axis=0) - 0.6) * radius
    else:
        bars = [(1.0, 0.36), (0.36, 1.0)]
        distance = np.min([np.maximum(np.abs(along) - a * long, np.abs(across) - b * short) for a, b in bars], axis=0)
    return rows, columns, (0.5 - distance).clip(0, 1).astype(np.float32)


def _leaves_enough(window: np.ndarray, inside: np.ndarray, pixels: list[int], owner: np.ndarray) -> bool:
    """Whether every shape that is there stays visible enough when ``inside`` is painted over."""
    hidden, counts = np.unique(window[inside], return_counts=True)
    for number, count in zip(hidden, counts):
        if number >= 0 and (owner == number).sum() - count < LEAST_SEEN * pixels[number]:
            return False
    return True


def _contrasting(generator: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour [3,1,1] that differs from the ground's mean by at least 0.25 in one channel."""
    mean = ground.mean(axis=(1, 2))
    while True:
        colour = generator.uniform(0, 1, 3)
        if np.abs(colour - mean).max() > 0.25:
            return colour.astype(np.float32).reshape(3, 1, 1)


def _extent(seen: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the true pixels, ends excluded."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

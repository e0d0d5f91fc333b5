"""A drawn tissue: which cells lie where in a core, and what stains and markers each pixel holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

PANEL = ("DNA", "PanCK", "CD3", "SMA", "CD68", "Ki67", "MPO", "blank")
TUMOUR, LYMPHOCYTE, FIBROBLAST, MACROPHAGE, GRANULOCYTE, CYCLING = range(6)
SPACING = 8.0  # px between cells
REACH = 10  # px around a cell's middle that it may cover

# By kind: half axes of the nucleus, px; how far the cell reaches beyond it, px; how much hematoxylin and eosin the
# nucleus and the cytoplasm take. Cells that a marker tells apart look different: a marker that the stain does not show
# could not be learned.
AXES = np.array([(3.7, 3.0), (2.2, 2.1), (4.6, 1.4), (2.7, 2.1), (2.3, 1.8), (3.9, 3.2)])
BEYOND = np.array([2.2, 1.2, 1.5, 3.4, 2.6, 2.0])
NUCLEUS_H = np.array([0.60, 1.45, 1.00, 0.65, 1.20, 1.35])
NUCLEUS_E = np.array([0.20, 0.10, 0.30, 0.15, 0.20, 0.15])
BODY_H = np.array([0.22, 0.12, 0.05, 0.03, 0.06, 0.25])
BODY_E = np.array([0.55, 0.20, 1.00, 0.12, 0.60, 0.50])
CLUMPS = np.array([0.15, 0.05, 0.05, 0.10, 0.10, 0.35])  # how coarse the chromatin is


class Cells(NamedTuple):
    """Cells of a core: middles in px, kind, half axes of the nucleus in px and angle of the longer one; each [N]."""

    row: np.ndarray
    column: np.ndarray
    kind: np.ndarray
    long: np.ndarray
    short: np.ndarray
    angle: np.ndarray


class Tissue(NamedTuple):
    """Densities of hematoxylin and eosin [2,S,S] and the panel's markers [8,S,S] in about 0..1, both float32."""

    stains: np.ndarray
    markers: np.ndarray


def draw_tissue(generator: np.random.Generator, side: int) -> Tissue:
    """A round core of ``side`` px: nests of tumour in stroma, with cells of six kinds.

    Markers follow from the kinds: ``DNA`` in every nucleus, ``PanCK`` in the cytoplasm of tumour, ``CD3`` around
    lymphocytes, ``SMA`` in fibroblasts, ``CD68`` in macrophages, ``Ki67`` in nuclei that divide, ``MPO`` in the grains
    of granulocytes (sparse and dotty), and ``blank``, in which there is nothing but what shines by itself.
    """
    nest = _smooth(generator, side, 14.0) > generator.normal(0.0, 0.3)
    direction = np.pi * _smooth(generator, side, 20.0)
    inside = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) < 0.49 * side
    cells = _place(generator, side, nest, direction, inside)
    return _paint(generator, side, cells, inside)


def _place(
    generator: np.random.Generator, side: int, nest: np.ndarray, direction: np.ndarray, inside: np.ndarray
) -> Cells:
    """Cells on a jittered grid; how frequent each kind is differs from core to core."""
    grid = np.stack(np.meshgrid(*[np.arange(SPACING / 2, side, SPACING)] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = grid + generator.uniform(-0.3, 0.3, grid.shape) * SPACING
    at = tuple(places.round().astype(int).clip(0, side - 1).T)
    keep = inside[at] & (generator.random(len(places)) < 0.9)
    places, at = places[keep], tuple(axis[keep] for axis in at)
    cycling = generator.uniform(0.12, 0.35)
    in_nest = np.array([0.86 * (1 - cycling), 0.07, 0.0, 0.05, 0.02, 0.86 * cycling])
    in_stroma = np.array([0.02, 0.36, 0.34, 0.20, 0.08, 0.0]) * generator.uniform(0.6, 1.4, 6)
    limits = np.stack([in_stroma / in_stroma.sum(), in_nest / in_nest.sum()]).cumsum(1)[nest[at].astype(int)]
    kind = (generator.random(len(places))[:, None] > limits[:, :-1]).sum(1)
    size = generator.normal(1.0, 0.08, len(places)).clip(0.8, 1.2)
    turned = generator.uniform(0, np.pi, len(places))
    angle = np.where(kind == FIBROBLAST, direction[at] + 0.2 * (turned - np.pi / 2), turned)
    long, short = AXES[kind].T * size
    return Cells(places[:, 0], places[:, 1], kind, long, short, angle)


def _paint(generator: np.random.Generator, side: int, cells: Cells, inside: np.ndarray) -> Tissue:
    owner, nucleus, body = _cover(cells, side)
    kind = cells.kind[owner]
    fine, coarse = _smooth(generator, side, 0.6), _smooth(generator, side, 1.3)
    shade = generator.normal(1.0, 0.06, len(cells.kind))[owner]
    cytoplasm = body * (1 - nucleus)
    grains = _grains(generator, cells, side)
    chromatin = 1 + CLUMPS[kind] * coarse
    foam = np.where(kind == MACROPHAGE, 0.10 * coarse.clip(0), 0.05 * fine)
    hematoxylin = nucleus * shade * NUCLEUS_H[kind] * chromatin + cytoplasm * BODY_H[kind]
    eosin = nucleus * NUCLEUS_E[kind] + cytoplasm * (BODY_E[kind] + foam) + 1.2 * grains
    matrix = (1 - body) * inside
    stains = np.stack([hematoxylin + 0.04 * matrix, eosin + matrix * (0.32 + 0.08 * fine)]).clip(0)

    def of(*kinds: int) -> np.ndarray:
        return np.isin(kind, kinds)

    ring = body * (1 - nucleus**2)
    markers = np.stack(
        [
            nucleus * chromatin * (0.35 + 0.45 * NUCLEUS_H[kind]),
            cytoplasm * of(TUMOUR, CYCLING),
            ring * of(LYMPHOCYTE),
            body * of(FIBROBLAST),
            cytoplasm * of(MACROPHAGE),
            nucleus * chromatin * of(CYCLING),
            grains,
            0.3 * stains[1] * inside,
        ]
    )
    return Tissue(stains.astype(np.float32), ndimage.gaussian_filter(markers, (0, 0.6, 0.6)).astype(np.float32))


def _cover(cells: Cells, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel the cell that it is nearest to, and how far (0..1) the cell's nucleus and body cover it."""
    offsets = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].reshape(2, -1)
    middles = np.stack((cells.row, cells.column))
    pixels = middles.round().astype(int)[:, :, None] + offsets[:, None]
    down, across = pixels - middles[:, :, None]
    along = across * np.cos(cells.angle)[:, None] + down * np.sin(cells.angle)[:, None]
    beside = down * np.cos(cells.angle)[:, None] - across * np.sin(cells.angle)[:, None]
    long, short = cells.long[:, None], cells.short[:, None]
    more = BEYOND[cells.kind][:, None]
    distance = np.hypot(along / (long + more), beside / (short + more))
    # An edge is about a pixel wide, whatever the size.
    body = ((1 - distance) * (short + more) + 0.5).clip(0, 1)
    nucleus = ((1 - np.hypot(along / long, beside / short)) * short + 0.5).clip(0, 1)
    shown = (body > 0) & (pixels >= 0).all(0) & (pixels < side).all(0)
    order = np.argsort(-distance[shown], kind="stable")  # the nearest is written last, and stays
    flat = (pixels[0] * side + pixels[1])[shown][order]
    owner = np.broadcast_to(np.arange(len(cells.kind))[:, None], shown.shape)[shown][order]
    maps = []
    for values in (owner, nucleus[shown][order], body[shown][order]):
        picture = np.zeros(side * side, values.dtype)
        picture[flat] = values
        maps.append(picture.reshape(side, side))
    return maps[0], maps[1], maps[2]


def _grains(generator: np.random.Generator, cells: Cells, side: int) -> np.ndarray:
    """Dots in granulocytes, [S,S] in 0..1."""
    picture = np.zeros((side, side))
    chosen = np.flatnonzero(cells.kind == GRANULOCYTE).repeat(6)
    turn = generator.uniform(0, 2 * np.pi, len(chosen))
    away = generator.uniform(0.7, 1.3, len(chosen)) * (cells.short[chosen] + 1.2)
    rows = (cells.row[chosen] + away * np.sin(turn)).round().astype(int)
    columns = (cells.column[chosen] + away * np.cos(turn)).round().astype(int)
    seen = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    picture[rows[seen], columns[seen]] = 1.0
    return (4.0 * ndimage.gaussian_filter(picture, 0.6)).clip(0, 1)


def _smooth(generator: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    """Smooth noise [S,S] with mean 0 and deviation 1; ``sigma`` px is how far it stays alike."""
    noise = ndimage.gaussian_filter(generator.normal(size=(side, side)), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()

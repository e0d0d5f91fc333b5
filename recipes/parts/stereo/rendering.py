"""Both eyes' images of a scene of sheets, with exact disparity and occlusion."""

from __future__ import annotations

import numpy as np

from recipes.parts.stereo.scene import Sheet
from recipes.parts.texture_bank import sample_textures, tile_corner

_UNIT = np.linspace(-1, 1, 9)


def render_pair(sheets: list[Sheet], size: tuple[int, int], *, vertical_shift: float = 0.0) -> dict[str, np.ndarray]:
    """Both eyes' images of ``sheets``, the left disparity, and what the right eye sees too.

    A sheet is a function of the left coordinates; where a column of the right image meets it follows from the root of a
    quadratic, so both images are exact at sub-pixel precision. The nearest sheet wins in each pixel. ``visible`` is
    decided by the sheet that wins in the right image at x - d, to the nearest pixel.

    Args:
        vertical_shift: px; the right image shows row y + shift in its row y.
    """
    disparity, owner, x = _rasterise(sheets, size, 0.0, right=False)
    right_disparity, right_owner, right_x = _rasterise(sheets, size, vertical_shift, right=True)
    y = np.arange(size[0], dtype=np.float32)[:, None]
    return {
        "left": _paint(sheets, owner, x, y),
        "right": _paint(sheets, right_owner, right_x, y + np.float32(vertical_shift)),
        "disparity": disparity[None],
        "valid": np.ones((1, *size), bool),
        "visible": _seen(disparity, owner, right_disparity, right_owner, -1)[None],
        "disparity_right": right_disparity[None],
        "valid_right": np.ones((1, *size), bool),
        "visible_right": _seen(right_disparity, right_owner, disparity, owner, 1)[None],
    }


def _seen(
    disparity: np.ndarray, owner: np.ndarray, other: np.ndarray, other_owner: np.ndarray, side: int
) -> np.ndarray:
    """Where an eye's pixel is seen by the other eye: inside its image, and there the same sheet wins."""
    width = disparity.shape[1]
    place = np.arange(width, dtype=np.float32) + side * disparity
    index = np.clip(np.rint(place), 0, width - 1).astype(np.int64) + np.arange(len(disparity))[:, None] * width
    same = (other_owner.take(index) == owner) | (np.abs(other.take(index) - disparity) < 0.5)
    return same & (place >= 0) & (place <= width - 1)


def _rasterise(
    sheets: list[Sheet], size: tuple[int, int], shift: float, *, right: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pixel of an eye [H,W]: disparity, number of the nearest sheet, and its column in the left image."""
    height, width = size
    best, owner = np.full(size, -1.0, np.float32), np.zeros(size, np.int64)
    left_x = np.zeros(size, np.float32)
    for number, sheet in enumerate(sheets):
        rows, columns = slice(0, height), slice(0, width)
        if sheet.box is not None:
            x0, x1, y0, y1 = sheet.box
            if right:
                across, down = (x1 - x0) / 2 * _UNIT + (x0 + x1) / 2, (y1 - y0) / 2 * _UNIT + (y0 + y1) / 2
                d = _curve(sheet.curve, across, down[:, None])
                x0, x1 = x0 - float(d.max()) - 1, x1 - float(d.min()) + 1
            columns = slice(max(0, int(np.floor(x0))), min(width, int(np.ceil(x1)) + 1))
            rows = slice(max(0, int(np.floor(y0 - shift))), min(height, int(np.ceil(y1 - shift)) + 1))
            if columns.start >= columns.stop or rows.start >= rows.stop:
                continue
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(shift)
        if right:
            x = _left_column(sheet.curve, x, y)
        d = _curve(sheet.curve, x, y)
        wins = (d > best[rows, columns]) & _inside(sheet, x, y)
        np.copyto(best[rows, columns], d, where=wins)
        np.copyto(owner[rows, columns], number, where=wins)
        np.copyto(left_x[rows, columns], x, where=wins)
    return best, owner, left_x


def _curve(curve: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    c0, c1, c2, c3, c4, c5 = curve.astype(np.float32)
    return (c3 * x + c1 + c4 * y) * x + (c0 + (c2 + c5 * y) * y)


def _left_column(curve: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The left column whose point falls on column ``x`` of the right image: the root of x_left - d(x_left, y) = x.

    Within the images every sheet's slope is under 1, so there is one root; it is not a number where there is none.
    """
    c0, c1, c2, c3, c4, c5 = curve.astype(np.float32)
    slope = 1 - c1 - c4 * y
    known = x + (c0 + (c2 + c5 * y) * y)
    square = slope * slope - 4 * c3 * known
    root = np.sqrt(np.where(square > 0, square, np.float32(np.nan)))
    with np.errstate(invalid="ignore"):  # no root is said by NaN, and numpy need not say it on the terminal
        return 2 * known / (slope + root)


def _inside(sheet: Sheet, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if sheet.box is None:
        return np.ones(np.broadcast_shapes(x.shape, y.shape), bool)
    a = sheet.axes.astype(np.float32)
    u, v = a[1] * x + (a[0] + a[2] * y), a[4] * x + (a[3] + a[5] * y)
    first, second = (np.float32(value) for value in sheet.detail)
    within = np.maximum(np.abs(u), np.abs(v)) < 1
    if sheet.shape == "ellipse":
        return u * u + v * v < 1
    if sheet.shape == "taper":
        return within & (np.abs(u) < 1 - first * (v + 1) / 2)
    if sheet.shape == "ring":
        radius = u * u + v * v
        return (radius < 1) & (radius > 0.3 + 0.4 * first)
    if sheet.shape == "slats":
        return within & (np.mod(u * (2 + 4 * second), 1) < 0.3 + 0.4 * first)
    if sheet.shape == "wave":
        return within & (np.abs(u) < 0.75 + 0.25 * np.sin((3 + 9 * first) * v + 6 * second))
    return within


def _paint(sheets: list[Sheet], owner: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The colours [3,H,W] in 0..1 of the points (x, y) of sheets ``owner``."""
    paint = np.stack([sheet.paint for sheet in sheets], axis=1)
    tables = np.stack([*tile_corner(paint[0]), *paint[1:]]).astype(np.float32)
    p = [table.take(owner) for table in tables]
    colour = sample_textures(p[0], p[1], p[3] * x + p[4] * y + p[2], p[6] * x + p[7] * y + p[5])
    shading = p[14] * x + p[15] * y + np.float32(1)
    for channel, contrast, base in zip(colour, p[8:11], p[11:14]):
        channel -= np.float32(0.5)
        channel *= contrast
        channel += base
        channel *= shading
    return np.clip(colour, 0, 1, out=colour)

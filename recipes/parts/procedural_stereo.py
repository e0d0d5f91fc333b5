"""Procedural stereo pairs with exact disparity and occlusion: textured curved sheets before each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from recipes.parts.texture_bank import TILE, TILES, sample_textures, tile_corner

_SHAPES = ("ellipse", "box", "taper", "ring", "slats", "bar", "wave")
_UNIT = np.linspace(-1, 1, 9)


class Sheet(NamedTuple):
    """One surface: a curved sheet d(x, y) with an outline and a texture, all in coordinates of the left image, px."""

    curve: np.ndarray  # [6]: d = c0 + c1 x + c2 y + c3 x^2 + c4 x y + c5 y^2
    box: tuple[float, float, float, float] | None  # x0, x1, y0, y1 around the outline; None: it fills the image
    shape: str
    axes: np.ndarray  # [6]: outline coordinates u = a0 + a1 x + a2 y, v = a3 + a4 x + a5 y, -1..1 inside the box
    detail: np.ndarray  # [2]: parameters of the shape
    paint: np.ndarray  # [15]: tile, 2 x 3 of the texture's affine map, 3 contrasts, 3 colours, 2 of the shading


class ProceduralStereo(Dataset):
    """``count`` stereo pairs, rendered when asked for, after the batch contract of the depth recipe.

    A sample is a dict: ``left``, ``right`` [3,H,W] in 0..1, ``disparity`` [1,H,W] in px, ``valid`` and ``visible``
    bool [1,H,W], ``focal_baseline`` in px m.

    Domain "clean" has a wide range of disparities, many surfaces and perfect truth. "noisy" has other statistics (fewer,
    flatter, darker, paler surfaces) and a sensor: noise, a gain and gamma of each eye, up to 0.7 px of vertical
    misalignment, holes in the truth at depth edges and elsewhere.

    Args:
        size: (H, W) in px.
        domain: "clean" or "noisy".
        max_disparity: px; every disparity is in 0.5 .. max_disparity.
        seed: with ``fixed``, sample i is a function of (seed, i) alone.
        fixed: for validation. Otherwise a sample is a function of the state of torch's global random generator.

    >>> pair = ProceduralStereo(8, size=(32, 64), max_disparity=16.0, fixed=True)[3]
    >>> pair["left"].shape, pair["disparity"].shape, bool(pair["valid"].all())
    (torch.Size([3, 32, 64]), torch.Size([1, 32, 64]), True)
    """

    def __init__(
        self,
        count: int,
        *,
        size: tuple[int, int] = (128, 256),
        domain: str = "clean",
        max_disparity: float = 64.0,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        if domain not in ("clean", "noisy"):
            raise ValueError(f"domain is {domain!r}; it must be 'clean' or 'noisy'")
        if max_disparity < 4:
            raise ValueError(f"max_disparity is {max_disparity} px; it must be at least 4")
        self.count, self.size, self.domain = count, size, domain
        self.max_disparity, self.seed, self.fixed = float(max_disparity), seed, fixed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        entropy = [self.seed, index] if self.fixed else [int(torch.randint(0, 2**31 - 1, ()))]
        generator = np.random.default_rng([*entropy, self.domain == "noisy"])
        sheets = draw_scene(generator, self.size, domain=self.domain, max_disparity=self.max_disparity)
        noisy = self.domain == "noisy"
        shift = float(generator.uniform(-0.7, 0.7)) if noisy else 0.0
        sample = render_pair(sheets, self.size, vertical_shift=shift)
        if noisy:
            _sense(generator, sample)
        # The rig of the recipe: a 640 px wide image has a focal length of 719.5 px; "clean" has twice the baseline.
        sample["focal_baseline"] = np.float32(1.1242 * self.size[1] * (0.1371 if noisy else 0.2742))
        return {name: torch.as_tensor(value) for name, value in sample.items()}


def draw_scene(
    generator: np.random.Generator, size: tuple[int, int], *, domain: str, max_disparity: float
) -> list[Sheet]:
    """A background, perhaps a floor and a wall, and objects before them; disparities in 0.5 .. ``max_disparity`` px."""
    noisy = domain == "noisy"
    near = max_disparity * generator.uniform(0.15, 0.7 if noisy else 1.0)
    far = 0.5 + (near - 0.5) * generator.uniform(0.02, 0.55)
    steps = far + (near - far) * generator.random(3) * 0.5
    sheets = [_wall(generator, size, steps[0], (0.5, max_disparity), 0.06, noisy)]
    if generator.random() < 0.5:
        sheets.append(_wall(generator, size, steps[1], (0.5, max_disparity), 0.25, noisy))
    if generator.random() < 0.4:
        sheets.append(_floor(generator, size, far, near, noisy))
    for _ in range(generator.integers(2, 7) if noisy else generator.integers(3, 15)):
        sheets.append(_thing(generator, size, far, near, noisy))
    return sheets


def render_pair(sheets: list[Sheet], size: tuple[int, int], *, vertical_shift: float = 0.0) -> dict[str, np.ndarray]:
    """Both eyes' images of ``sheets``, the left disparity, and what the right eye sees too.

    A sheet is a function of the left coordinates; where a column of the right image meets it follows from the root of a
    quadratic, so both images are exact at sub-pixel precision. The nearest sheet wins in each pixel. ``visible`` is
    decided by the sheet that wins in the right image at x - d, to the nearest pixel.

    Args:
        vertical_shift: px; the right image shows row y + shift in its row y.
    """
    height, width = size
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
    """The left column whose point falls on column ``x`` of the right image: the root of x_left - d(x_left, y) = x."""
    c0, c1, c2, c3, c4, c5 = curve.astype(np.float32)
    slope = 1 - c1 - c4 * y
    known = x + (c0 + (c2 + c5 * y) * y)
    return 2 * known / (slope + np.sqrt(np.maximum(slope * slope - 4 * c3 * known, 0)))


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


def _draw_paint(generator: np.random.Generator, size: tuple[int, int], noisy: bool) -> np.ndarray:
    """The texture and colours of a sheet; one in six has next to no texture."""
    pale, coloured, shaded = generator.random(3) < (1 / 6, 0.3, 0.5)
    turn, texels = generator.uniform(0, 2 * np.pi), _log_uniform(generator, 0.2, 1.3)
    cos, sin = texels * np.cos(turn), texels * np.sin(turn)
    contrast = _log_uniform(generator, 0.1, 0.5 if noisy else 1.2) * (0.1 if pale else 1.0)
    gains = contrast * generator.uniform(0.5, 1.2, 3)
    if coloured:
        gains *= np.sign(generator.uniform(-1, 1, 3))
    grey = generator.uniform(0.1, 0.55) if noisy else generator.uniform(0.15, 0.85)
    colours = grey + generator.uniform(0, 0.25) * generator.uniform(-1, 1, 3)
    shading = generator.uniform(-0.4, 0.4, 2) / (size[1], size[0]) * shaded
    offset = generator.uniform(0, TILE, 2)
    tile = generator.integers(0, TILES)
    return np.array([tile, offset[0], cos, -sin, offset[1], sin, cos, *gains, *colours, *shading])


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(low * (high / low) ** generator.random())


def _wall(
    generator: np.random.Generator,
    size: tuple[int, int],
    level: float,
    limits: tuple[float, float],
    slope: float,
    noisy: bool,
) -> Sheet:
    """A sheet over the whole image about disparity ``level``, bent and slanted within ``limits``."""
    height, width = size
    tilt = generator.uniform(-slope, slope, 2) * (1, 1)
    bend = generator.uniform(-slope, slope, 3) / max(size) * generator.integers(0, 2)
    return Sheet(
        _tamed(level, tilt, bend, (width / 2, height / 2), (width, height / 2), limits),
        None, "box", np.zeros(6), np.zeros(2), _draw_paint(generator, size, noisy),
    )  # fmt: skip


def _floor(generator: np.random.Generator, size: tuple[int, int], far: float, near: float, noisy: bool) -> Sheet:
    """A plane that comes nearer towards the lower edge."""
    bottom = far + (near - far) * generator.uniform(0.3, 1.0)
    horizon = size[0] * generator.uniform(-0.3, 0.7)
    slope = (bottom - far) / (size[0] - horizon)
    curve = np.array([far - slope * horizon, 0, slope, 0, 0, 0])
    return Sheet(curve, None, "box", np.zeros(6), np.zeros(2), _draw_paint(generator, size, noisy))


def _thing(generator: np.random.Generator, size: tuple[int, int], far: float, near: float, noisy: bool) -> Sheet:
    """An object before the far distance, of one of seven outlines, slanted or bulging towards the viewer."""
    height, width = size
    shape = _SHAPES[generator.integers(len(_SHAPES))]
    half = 0.5 * min(size) * np.array([_log_uniform(generator, 0.08, 0.9), _log_uniform(generator, 0.08, 0.9)])
    if shape == "bar":
        half = np.array([generator.uniform(0.8, 3.0), generator.uniform(0.2, 0.8) * height])
    turn = generator.uniform(-0.5, 0.5) if generator.random() < 0.5 else 0.0
    turn += np.pi / 2 * generator.integers(0, 4)
    level = far + (near - far) * generator.uniform(0.05, 1.0)
    centre = generator.uniform((0, 0), (width, height)) + np.array([0.3 * level * generator.integers(0, 2), 0])
    cos, sin = np.cos(turn), np.sin(turn)
    axes = np.array([[cos, sin], [-sin, cos]]) / half[:, None]
    reach = np.abs(np.array([[cos, sin], [-sin, cos]]).T) @ half
    tilt = generator.uniform(-0.25, 0.25, 2) * generator.integers(0, 2)
    bend = np.zeros(3)
    if shape in ("ellipse", "taper", "wave") and generator.random() < 0.7:  # a ball or a pillar: d falls off as u^2 (+ v^2)
        bulge = 0.25 * half[0] * generator.random()
        (ux, uy), (vx, vy) = axes * (1, 1)
        both = shape == "ellipse"
        bend = -bulge * np.array([ux * ux + both * vx * vx, 2 * (ux * uy + both * vx * vy), uy * uy + both * vy * vy])
    curve = _tamed(level, tilt, bend, (centre[0], centre[1]), (reach[0], reach[1]), (0.5, near))
    edges = (centre[0] - reach[0], centre[0] + reach[0], centre[1] - reach[1], centre[1] + reach[1])
    offsets = -axes @ centre
    outline = np.array([offsets[0], *axes[0], offsets[1], *axes[1]])
    return Sheet(curve, edges, shape, outline, generator.random(2), _draw_paint(generator, size, noisy))


def _tamed(
    level: float,
    tilt: np.ndarray,
    bend: np.ndarray,
    centre: tuple[float, float],
    reach: tuple[float, float],
    limits: tuple[float, float],
) -> np.ndarray:
    """The curve [6] with value ``level`` at ``centre``, its slopes shrunk until it keeps ``limits`` within ``reach``."""
    cx, cy = centre
    dx, dy = _UNIT * reach[0], _UNIT[:, None] * reach[1]
    change = (tilt[0] + bend[0] * dx + bend[1] * dy) * dx + (tilt[1] + bend[2] * dy) * dy
    level = min(max(level, limits[0] + 0.25), limits[1] - 0.25)
    room = min((limits[1] - level) / max(change.max(), 1e-6), (level - limits[0]) / max(-change.min(), 1e-6), 1.0)
    (a, b), (e, f, g) = tilt * room, bend * room
    return np.array(
        [
            level - a * cx - b * cy + e * cx * cx + f * cx * cy + g * cy * cy,
            a - 2 * e * cx - f * cy, b - 2 * g * cy - f * cx, e, f, g,
        ]
    )  # fmt: skip


def _sense(generator: np.random.Generator, sample: dict[str, np.ndarray]) -> None:
    """Change a sample in place as a cheap sensor would: gain, gamma and noise of each eye, holes in the truth."""
    noise = generator.uniform(0.005, 0.03)
    for eye in ("left", "right"):
        image = sample[eye]
        image = generator.uniform(0.8, 1.2) * image ** np.float32(generator.uniform(0.85, 1.18))
        image = image + noise * generator.standard_normal(image.shape, dtype=np.float32)
        sample[eye] = np.clip(image, 0, 1).astype(np.float32)
    for side in ("", "_right"):
        _lose_truth(generator, sample, side)


def _lose_truth(generator: np.random.Generator, sample: dict[str, np.ndarray], side: str) -> None:
    """Holes at depth edges, where matching and structured light fail, and round ones elsewhere."""
    disparity = sample["disparity" + side][0]
    edge = np.zeros(disparity.shape, bool)
    jump = np.abs(np.diff(disparity, axis=1)) > 1
    for reach in range(int(generator.integers(1, 4))):
        edge[:, : -1 - reach] |= jump[:, reach:]
        edge[:, 1 + reach :] |= jump[:, : jump.shape[1] - reach]
    height, width = disparity.shape
    y, x = np.mgrid[:height, :width]
    for _ in range(generator.integers(0, 5)):
        row, column, radius = generator.uniform(0, height), generator.uniform(0, width), generator.uniform(2, 0.12 * height)
        edge |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    known = ~edge[None]
    sample["valid" + side] &= known
    sample["visible" + side] &= known
    sample["disparity" + side] = np.where(known, sample["disparity" + side], np.float32(0))

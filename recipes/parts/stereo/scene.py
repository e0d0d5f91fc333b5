"""Random scenes for procedural stereo: curved, textured sheets with outlines, before each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recipes.parts.texture_bank import TILE, TILES

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
    things = generator.integers(2, 7) if noisy else generator.integers(3, 15)
    return [*sheets, *(_thing(generator, size, far, near, noisy) for _ in range(things))]


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
    tilt = generator.uniform(-slope, slope, 2)
    bend = generator.uniform(-slope, slope, 3) / (2 * max(size)) * generator.integers(0, 2)
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
    elif shape == "taper" and generator.random() < 0.6:  # a leaf
        half = np.array([generator.uniform(0.02, 0.1), generator.uniform(0.2, 0.7)]) * height
    turn = generator.uniform(0, 2 * np.pi) if generator.random() < 0.6 else np.pi / 2 * generator.integers(0, 4)
    level = far + (near - far) * generator.uniform(0.05, 1.0)
    centre = generator.uniform((0, 0), (width, height)) + np.array([0.3 * level * generator.integers(0, 2), 0])
    cos, sin = np.cos(turn), np.sin(turn)
    axes = np.array([[cos, sin], [-sin, cos]]) / half[:, None]
    reach = np.abs(np.array([[cos, sin], [-sin, cos]]).T) @ half
    tilt = generator.uniform(-0.25, 0.25, 2) * generator.integers(0, 2)
    bend = np.zeros(3)
    if (
        shape in ("ellipse", "taper", "wave") and generator.random() < 0.7
    ):  # a ball or a pillar: d falls off as u^2 (+ v^2)
        both = shape == "ellipse"
        bulge = 0.25 * (min(half) if both else half[0]) * generator.random()
        (ux, uy), (vx, vy) = axes
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
    """The curve [6] with value ``level`` at ``centre``, made flatter until it keeps ``limits`` within ``reach``."""
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

"""Random cartoons: flat and textured segments with outlines, each in affine motion of its own before a background."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recipes.parts.texture_bank import TILE, TILES, sample_textures, tile_corner

HARMONICS = 4  # an outline is a circle with waves of 2, 3, 4 and 5 periods on it


class Cartoon(NamedTuple):
    """The L layers of a scene, back to front; layer 0 is the background and fills the picture.

    A layer has coordinates p of its own, in px, and in frame t stands at ``centre + t velocity + change^t p``.
    """

    centre: np.ndarray  # [L,2] x, y in frame 0, px
    velocity: np.ndarray  # [L,2] px a frame
    change: np.ndarray  # [L,2,2] the linear map about the centre, from each frame to the next
    place: np.ndarray  # [L,2] the middle of the outline, in the layer's coordinates
    axes: np.ndarray  # [L,2,2] from there to coordinates in which the outline is nearly a circle
    radius: np.ndarray  # [L] of that circle, px; infinite for the background
    waves: np.ndarray  # complex [L,HARMONICS], shares of the radius
    line: np.ndarray  # [L] width of the outline, px
    ink: np.ndarray  # [L,3] colour of the outline, 0..1
    paint: np.ndarray  # [L,3] colour of the rest
    shade: np.ndarray  # [L,2] change of that colour a px
    contrast: np.ndarray  # [L,3] of the texture; 0 where the fill is flat
    tile: np.ndarray  # [L] number of the texture
    texels: np.ndarray  # [L,2,2] from px to texels
    offset: np.ndarray  # [L,2] texels

    def coordinates(self, x: np.ndarray, y: np.ndarray, time: int) -> np.ndarray:
        """The points ``x``, ``y`` float32 [H,W] of frame ``time`` in the coordinates of each layer: [L,2,H,W]."""
        back = np.linalg.inv(self._change(time))
        shift = -(back @ (self.centre + time * self.velocity)[:, :, None])
        points = np.stack([x, y]).reshape(1, 2, -1)
        return (back.astype(np.float32) @ points + shift.astype(np.float32)).reshape(-1, 2, *x.shape)

    def motion(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """What the motion from frame ``time`` to the next adds to a point p: [L,2,2] times p plus [L,2]."""
        return self._change(time + 1) - self._change(time), self.velocity

    def depths(self, coordinates: np.ndarray) -> np.ndarray:
        """How far inside its outline each layer is at its ``coordinates`` [L,2,H,W]: [L,H,W] in px, below 0 outside."""
        shape = coordinates.shape
        axes, place = self.axes[1:].astype(np.float32), self.place[1:, :, None].astype(np.float32)
        away = axes @ (coordinates[1:].reshape(len(axes), 2, -1) - place)
        reach = np.sqrt(np.square(away).sum(axis=1))
        radius = self.radius[1:].astype(np.float32)
        depth = radius[:, None] - reach
        # No wave goes further out: of what is beyond, only the sign is asked for.
        layer, point = np.nonzero(depth > -0.5 * radius[:, None] - 1)
        turn = (away[layer, 0, point] + np.complex64(1j) * away[layer, 1, point]) / (reach[layer, point] + 1e-6)
        height, *others = self.waves.astype(np.complex64).T[::-1, 1 + layer]
        for wave in others:
            height = height * turn + wave
        depth[layer, point] += radius[layer] * (height * turn**2).real
        whole = np.full((1, depth.shape[1]), np.inf, np.float32)
        return np.concatenate([whole, depth]).reshape(shape[0], *shape[2:])

    def _change(self, time: int) -> np.ndarray:
        return np.stack([np.linalg.matrix_power(change, time) for change in self.change])


class Look(NamedTuple):
    """What is seen at points of a frame."""

    colour: np.ndarray  # float32 [3,H,W], 0..1
    owner: np.ndarray  # int64 [H,W], the number of the layer
    line: np.ndarray  # bool [H,W], whether it is the layer's outline
    coordinates: np.ndarray  # [2,H,W], in the layer's coordinates


def draw_cartoon(
    generator: np.random.Generator, size: tuple[int, int], *, max_speed: float, flat: float = 0.5
) -> Cartoon:
    """A background and 2 to 4 things; half of these have a part of another colour, which moves with them.

    Args:
        size: (H, W) in px.
        max_speed: px a frame, the most of a thing's centre before the background; half of that of the background.
        flat: the chance that a segment has no texture. The background always has one: nobody sees a plain one move.
    """
    things = int(generator.integers(2, 5))
    of_thing = np.repeat(np.arange(1 + things), 1 + np.append(0, generator.random(things) < 0.5))
    count = len(of_thing)
    part = np.append(False, of_thing[1:] == of_thing[:-1])

    def one_of(low: float, high: float) -> np.ndarray:
        return low * (high / low) ** generator.random(count)

    centre = generator.uniform((0, 0), size[::-1], (1 + things, 2))[of_thing]
    radius = (min(size) * 0.1 * 4.5 ** generator.random(1 + things))[of_thing]
    place = generator.uniform(-0.4, 0.4, (count, 2)) * (radius * part)[:, None]
    radius = radius * np.where(part, generator.uniform(0.25, 0.6, count), 1.0)
    radius[0], centre[0] = np.inf, np.array(size[::-1]) / 2
    velocity, change = _motion(generator, things, max_speed)
    heights = generator.random((count, HARMONICS)) * 0.35 / np.arange(2, 2 + HARMONICS)
    textured = generator.random(count) >= flat
    textured[0] = True
    paint = generator.uniform(0.1, 0.95, (count, 3))
    dark = np.where(
        generator.random(count) < 0.8, generator.uniform(0, 0.25, count), generator.uniform(0.5, 0.9, count)
    )
    aspect = one_of(0.6, 1 / 0.6)
    stretch = np.stack([aspect, 1 / aspect], axis=1)[:, :, None]
    return Cartoon(
        centre,
        velocity[of_thing],
        change[of_thing],
        place,
        stretch * _rotations(generator.uniform(0, 2 * np.pi, count)),
        radius,
        heights * np.exp(2j * np.pi * generator.random((count, HARMONICS))),
        line=generator.uniform(1.0, 2.5, count),
        ink=paint * dark[:, None],
        paint=paint,
        shade=generator.uniform(-0.3, 0.3, (count, 2)) / max(size) * (generator.random((count, 1)) < 0.5),
        contrast=(one_of(0.1, 0.9) * textured)[:, None] * generator.uniform(0.5, 1.2, (count, 3)),
        tile=generator.integers(0, TILES, count),
        texels=one_of(0.3, 1.2)[:, None, None] * _rotations(generator.uniform(0, 2 * np.pi, count)),
        offset=generator.uniform(0, TILE, (count, 2)),
    )


def look(cartoon: Cartoon, x: np.ndarray, y: np.ndarray, time: int) -> Look:
    """The scene at the points ``x``, ``y`` [H,W] of frame ``time``, which may lie between pixels or outside.

    Who is seen at a point is exact; only lines have soft edges, a pixel wide.
    """
    coordinates = cartoon.coordinates(x, y, time)
    depths = cartoon.depths(coordinates)
    layers = np.arange(len(depths))[:, None, None]
    owner = np.where(depths >= 0, layers, 0).max(axis=0)
    own = np.take_along_axis(coordinates, owner[None, None], axis=0)[0]
    colour = _fill(cartoon, owner, own)
    for layer in range(1, len(depths)):
        depth = depths[layer]
        cover = np.clip(np.minimum(depth, cartoon.line[layer] - depth) + 0.5, 0, 1) * (owner <= layer)
        rows, columns = np.nonzero(cover)
        ink = cartoon.ink[layer][:, None]
        colour[:, rows, columns] += cover[rows, columns] * (ink - colour[:, rows, columns])
    own_depth = np.take_along_axis(depths, owner[None], axis=0)[0]
    return Look(np.clip(colour, 0, 1), owner, own_depth < cartoon.line[owner], own)


def _fill(cartoon: Cartoon, owner: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Colours [3,H,W] without outlines, each point's by its ``owner`` [H,W] at its ``own`` coordinates [2,H,W]."""
    (uu, uv), (vu, vv) = cartoon.texels.astype(np.float32)[owner].transpose(2, 3, 0, 1)
    offset = cartoon.offset.astype(np.float32)[owner].transpose(2, 0, 1)
    left, top = tile_corner(cartoon.tile[owner])
    u, v = uu * own[0] + uv * own[1] + offset[0], vu * own[0] + vv * own[1] + offset[1]
    texture = sample_textures(left.astype(np.float32), top.astype(np.float32), u, v) - 0.5
    paint, contrast, shade = (
        part.astype(np.float32)[owner].transpose(2, 0, 1) for part in (cartoon.paint, cartoon.contrast, cartoon.shade)
    )
    return paint + contrast * texture + (shade * own).sum(axis=0)


def _motion(generator: np.random.Generator, things: int, max_speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Velocities [1+things,2] and linear maps [1+things,2,2] of background and things; a quarter stand still."""
    speed = max_speed * 0.1 * 10 ** generator.random(1 + things)
    speed[0] *= 0.5
    speed *= generator.random(1 + things) >= 0.25
    angle = generator.uniform(0, 2 * np.pi, 1 + things)
    velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    velocity[1:] += velocity[0]
    strength = 0.015 * (generator.random(1 + things) >= 0.25)
    turn, grow = strength * generator.standard_normal((2, 1 + things))
    shear = 0.5 * strength * generator.standard_normal(1 + things)
    change = _rotations(turn) * (1 + grow)[:, None, None]
    change[:, 0, 1] += shear
    return velocity, change


def _rotations(angle: np.ndarray) -> np.ndarray:
    """Matrices [N,2,2] that turn by ``angle`` [N]."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)

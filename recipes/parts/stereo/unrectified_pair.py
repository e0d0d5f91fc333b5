"""A procedural stereo pair as two real cameras see it: turned against each other, through lenses that bend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from recipes.parts.stereo.lens_distortion import undistort_points
from recipes.parts.stereo.rectification import Rectification, remap, stereo_rectify
from recipes.parts.stereo.rendering import render_pair
from recipes.parts.stereo.scene import draw_scene


class UnrectifiedPair(NamedTuple):
    """``left``, ``right`` [3,H,W] in 0..1 as the cameras see them, and the truth of the rectified left image.

    ``calibration`` has OpenCV's K1 D1 K2 D2 R T (T in m). After rectification by them the pair shows ``rectified_left``
    and ``rectified_right`` [3,H,W], with ``disparity`` [1,H,W] in px.
    """

    left: torch.Tensor
    right: torch.Tensor
    calibration: dict[str, np.ndarray]
    rectified_left: torch.Tensor
    rectified_right: torch.Tensor
    disparity: torch.Tensor


def unrectified_pair(
    *, size: tuple[int, int] = (120, 160), max_disparity: float = 24.0, turn_degrees: float = 2.0, seed: int = 0
) -> UnrectifiedPair:
    """A scene rendered in the rectified frame and looked at through a random calibration.

    Args:
        size: (H, W) of all images, px.
        turn_degrees: the cameras are turned against each other by up to this about every axis.
        seed: of scene and calibration.

    >>> pair = unrectified_pair(size=(48, 64), max_disparity=8.0)
    >>> pair.left.shape, sorted(pair.calibration)
    (torch.Size([3, 48, 64]), ['D1', 'D2', 'K1', 'K2', 'R', 'T'])
    """
    generator = np.random.default_rng(seed)
    height, width = size
    calibration = draw_calibration(generator, size, turn_degrees)
    found = stereo_rectify(**calibration, size=(width, height))
    rim = max(size) // 4  # the cameras also see what the rectified images leave out
    wide = (height + 2 * rim, width + 2 * rim)
    scene = render_pair(draw_scene(generator, wide, domain="clean", max_disparity=max_disparity), wide)
    left, right, disparity = (torch.from_numpy(scene[name]) for name in ("left", "right", "disparity"))
    inner = (slice(None), slice(rim, rim + height), slice(rim, rim + width))
    return UnrectifiedPair(
        remap(left, _rectified_places(found, found.K1, found.D1, found.R1, found.P1) + rim),
        remap(right, _rectified_places(found, found.K2, found.D2, found.R2, found.P2) + rim),
        calibration,
        left[inner],
        right[inner],
        disparity[inner],
    )


def draw_calibration(
    generator: np.random.Generator, size: tuple[int, int], turn_degrees: float
) -> dict[str, np.ndarray]:
    """Two cameras nearly alike, side by side: K1 D1 K2 D2 R T as in OpenCV, T in m."""
    height, width = size
    calibration = {}
    for number in "12":
        focal = width * generator.uniform(1.05, 1.15)
        centre = np.array([width, height]) * generator.uniform(0.48, 0.52, 2)
        calibration["K" + number] = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
        calibration["D" + number] = generator.uniform(-1, 1, 5) * (0.1, 0.05, 1e-3, 1e-3, 0.01)
    turns = generator.uniform(-turn_degrees, turn_degrees, 3)
    calibration["R"] = Rotation.from_euler("xyz", turns, degrees=True).as_matrix()
    calibration["T"] = np.array([-0.1371, *generator.uniform(-0.003, 0.003, 2)])
    return calibration


def _rectified_places(
    found: Rectification, camera: np.ndarray, lens: np.ndarray, turn: np.ndarray, projection: np.ndarray
) -> torch.Tensor:
    """Where in the rectified image each pixel of a camera lies: float32 [2,H,W], (x, y) in px."""
    width, height = found.size
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    x, y = np.moveaxis(undistort_points(pixels, camera, lens, steps=20), -1, 0)
    rays = np.einsum("ij,jhw->ihw", turn, np.stack([x, y, np.ones_like(x)]))
    places = np.einsum("ij,jhw->ihw", projection[:2, :3], rays) / rays[2]
    return torch.from_numpy(places.astype(np.float32))

"""How a lens bends rays: the Brown-Conrady model, there and back."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def distort(x: Array, y: Array, coefficients: Array) -> tuple[Array, Array]:
    """Where the lens puts the ray (x, y, 1): normalised coordinates in, normalised coordinates out.

    Args:
        coefficients: k1 k2 p1 p2, then k3, then k4 k5 k6 if known (Brown, "Close-range camera calibration", 1971; the
            rational form is that of OpenCV's camera model).

    >>> distort(np.array([1.0]), np.array([0.0]), np.array([0.1, 0.0, 0.0, 0.0]))
    (array([1.1]), array([0.]))
    """
    radial, shift_x, shift_y = _bend(x, y, coefficients)
    return x * radial + shift_x, y * radial + shift_y


def undistort_points(points: Array, camera: Array, coefficients: Array, *, steps: int = 5) -> Array:
    """The rays (x, y) of ``points`` [...,2] in px, seen through a lens: normalised coordinates [...,2].

    Args:
        camera: 3x3 intrinsic matrix.
        coefficients: as in `distort`.
        steps: of the fixed-point iteration. Five are OpenCV's default, and exact to about 0.01 px for a mild lens; take
            more for an exact answer.

    >>> camera = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    >>> undistort_points(np.array([150.0, 50.0]), camera, np.zeros(5))
    array([1., 0.])
    """
    seen_x = (points[..., 0] - camera[0, 2]) / camera[0, 0]
    seen_y = (points[..., 1] - camera[1, 2]) / camera[1, 1]
    x, y = seen_x, seen_y
    for _ in range(steps):
        radial, shift_x, shift_y = _bend(x, y, coefficients)
        x, y = (seen_x - shift_x) / radial, (seen_y - shift_y) / radial
    return np.stack([x, y], axis=-1)


def _bend(x: Array, y: Array, coefficients: Array) -> tuple[Array, Array, Array]:
    """The radial factor, and the tangential shift in x and y."""
    k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(coefficients, (0, 8 - len(coefficients)))
    square = x * x + y * y
    radial = (1 + square * (k1 + square * (k2 + square * k3))) / (1 + square * (k4 + square * (k5 + square * k6)))
    return radial, 2 * p1 * x * y + p2 * (square + 2 * x * x), p1 * (square + 2 * y * y) + 2 * p2 * x * y

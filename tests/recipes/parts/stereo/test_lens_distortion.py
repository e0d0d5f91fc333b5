"""The lens model against numbers worked out by hand, and its inverse."""

import numpy as np
import pytest

from recipes.parts.stereo.lens_distortion import distort, undistort_points

CAMERA = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])


@pytest.mark.parametrize(
    ("coefficients", "expected"),
    [  # at (0.3, 0.4): r^2 = 0.25
        ([0.2, 0, 0, 0], (0.3 * 1.05, 0.4 * 1.05)),
        ([0, 0.16, 0, 0], (0.3 * 1.01, 0.4 * 1.01)),
        ([0, 0, 0.1, 0], (0.3 + 0.2 * 0.12, 0.4 + 0.1 * 0.57)),
        ([0, 0, 0, 0.1], (0.3 + 0.1 * 0.43, 0.4 + 0.2 * 0.12)),
        ([0, 0, 0, 0, 0.64], (0.3 * 1.01, 0.4 * 1.01)),
        ([0.2, 0, 0, 0, 0, 0.2, 0, 0], (0.3, 0.4)),  # the rational form's denominator cancels the numerator
    ],
)
def test_each_coefficient_bends_as_in_the_formula(coefficients, expected):
    assert distort(0.3, 0.4, np.array(coefficients, dtype=float)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("steps", "tolerance"), [(5, 1e-2), (50, 1e-9)])
def test_undistorting_comes_back_to_the_ray(steps, tolerance):
    coefficients = np.array([-0.25, 0.05, 1e-3, -5e-4, 0.01])
    rays = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 7), np.linspace(-0.45, 0.45, 7)), axis=-1)
    x, y = distort(rays[..., 0], rays[..., 1], coefficients)
    seen = np.stack([500 * x + 320, 510 * y + 240], axis=-1)
    assert undistort_points(seen, CAMERA, coefficients, steps=steps) == pytest.approx(rays, abs=tolerance)

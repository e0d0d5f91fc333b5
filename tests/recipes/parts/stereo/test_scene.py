"""Random scenes."""

import numpy as np
import pytest

from recipes.parts.stereo.scene import draw_scene


@pytest.mark.parametrize(("domain", "fewest", "most"), [("clean", 4, 17), ("noisy", 3, 9)])
def test_scenes_have_a_background_and_objects_whose_slopes_leave_one_root(domain, fewest, most):
    counts = set()
    for seed in range(200):
        sheets = draw_scene(np.random.default_rng(seed), (96, 256), domain=domain, max_disparity=77.0)
        counts.add(len(sheets))
        assert sheets[0].box is None
        for sheet in sheets:
            x0, x1, y0, y1 = sheet.box or (0, 256 + 77, 0, 95)
            x, y = np.meshgrid(np.linspace(x0, x1, 12), np.linspace(y0, y1, 12))
            a = sheet.axes
            inside = np.maximum(abs(a[0] + a[1] * x + a[2] * y), abs(a[3] + a[4] * x + a[5] * y)) <= 1
            slope = sheet.curve[1] + 2 * sheet.curve[3] * x + sheet.curve[4] * y
            assert slope[inside].max(initial=0) < 1  # then no two of its points fall on one pixel of the right image
    assert min(counts) >= fewest and max(counts) <= most and len(counts) > 4

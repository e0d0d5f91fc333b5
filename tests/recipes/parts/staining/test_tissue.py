"""Drawn tissue: markers lie where the cells are that carry them."""

import numpy as np
import pytest

from recipes.parts.staining.tissue import PANEL, draw_tissue


@pytest.fixture(scope="module")
def tissue():
    return draw_tissue(np.random.default_rng(0), 160)


def marker(tissue, name):
    return tissue.markers[PANEL.index(name)]


def test_shapes_and_ranges(tissue):
    assert tissue.stains.shape == (2, 160, 160) and tissue.markers.shape == (8, 160, 160)
    assert tissue.stains.dtype == tissue.markers.dtype == np.float32
    assert tissue.stains.min() >= 0 and tissue.stains.max() < 4


def test_the_core_is_round_and_nothing_is_in_its_corners(tissue):
    for corner in (np.s_[:, :16, :16], np.s_[:, -16:, -16:]):
        assert tissue.stains[corner].max() == 0 and abs(tissue.markers[corner]).max() < 1e-3


def test_markers_follow_the_cells(tissue):
    dividing, tumour = marker(tissue, "Ki67") > 0.5, marker(tissue, "PanCK") > 0.5
    assert dividing.any() and tumour.any()
    assert marker(tissue, "DNA")[dividing].mean() > 0.6  # it is a nucleus
    assert marker(tissue, "DNA")[tumour].mean() < 0.3  # it is cytoplasm
    for other in ("CD3", "SMA", "CD68"):
        assert marker(tissue, other)[tumour].mean() < 0.1  # of other cells
    dots = marker(tissue, "MPO") > 0.3
    assert tissue.stains[1][dots].mean() > 2 * tissue.stains[1].mean()  # grains take eosin


def test_one_marker_is_rare_and_one_is_none(tissue):
    share = {name: (marker(tissue, name) > 0.3).mean() for name in PANEL}

    assert 0 < share["MPO"] < 0.02 < share["PanCK"]
    assert share["blank"] < 0.05


def test_the_same_generator_draws_the_same_and_another_something_else(tissue):
    again, other = draw_tissue(np.random.default_rng(0), 160), draw_tissue(np.random.default_rng(1), 160)

    assert np.array_equal(tissue.markers, again.markers) and np.array_equal(tissue.stains, again.stains)
    assert abs(tissue.markers - other.markers).mean() > 0.05

"""Correlation of patches: where a motion leads it is one, light does not move it, and beyond the picture is nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.flow.patch_correlation import local_contrast, patch_correlation


def picture(seed=0, size=(20, 24)):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=12, deadline=None)
@given(x=st.integers(-2, 2), y=st.integers(-2, 2), seed=st.integers(0, 99))
def test_the_best_of_all_displacements_is_the_true_one(x, y, seed):
    first = picture(seed)
    second = first.roll((y, x), dims=(-2, -1))

    costs = patch_correlation(first, second, reach=2, smoothing=1)[..., 6:-6, 6:-6]

    assert (costs.argmax(dim=1) == (y + 2) * 5 + (x + 2)).all()
    assert costs.amax(dim=1).min() > 0.999


def test_it_is_the_correlation_of_the_two_patches():
    first, second = picture(1), picture(2)

    costs = patch_correlation(first, second, reach=1, smoothing=1, noise=0.0)

    here, there = first[0, :, 6:11, 6:11], second[0, :, 5:10, 7:12]  # around (8, 8), and one up, one to the right
    here, there = (patch - patch.mean(dim=(1, 2), keepdim=True) for patch in (here, there))
    expected = (here * there).sum() / (here.square().sum() * there.square().sum()).sqrt()
    assert costs[0, 0 * 3 + 2, 8, 8].item() == pytest.approx(expected.item(), abs=1e-4)


def test_brightness_and_contrast_hardly_count():
    first = picture()
    plain, changed = (patch_correlation(first, second, reach=1) for second in (first, 0.5 * first + 0.3))
    assert torch.allclose(plain, changed, atol=2e-3)


def test_smoothing_is_a_mean_of_neighbours():
    first, second = picture(1), picture(2)
    rough, smooth = (patch_correlation(first, second, reach=1, smoothing=size) for size in (1, 3))
    assert smooth[0, 4, 8, 8].item() == pytest.approx(rough[0, 4, 7:10, 7:10].mean().item(), abs=1e-6)


def test_what_is_flat_matches_nothing_and_what_is_beyond_the_picture_neither():
    flat = torch.full((1, 3, 8, 8), 0.7)
    assert patch_correlation(flat, flat, reach=1).abs().max() < 0.01
    costs = patch_correlation(picture(), picture(), reach=2, smoothing=1)
    assert (costs.unflatten(1, (5, 5))[:, :2, :, 0] == 0).all()  # up, in the first row
    assert costs.isfinite().all() and costs.abs().max() < 1.001


def test_no_gradient_passes():
    first = picture().requires_grad_()
    assert not patch_correlation(first, first, reach=1).requires_grad


def test_contrast_is_what_differs_from_the_surroundings():
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    assert local_contrast(ramp)[..., 2:-2].abs().max() < 1e-5
    assert local_contrast(ramp)[0, 0, 5, 0].item() == pytest.approx(-0.6)  # mean of 0, 0, 0, 1, 2


def test_a_reach_of_nothing_is_named():
    with pytest.raises(ValueError, match="reach is 0; it must be at least 1"):
        patch_correlation(picture(), picture(), reach=0)

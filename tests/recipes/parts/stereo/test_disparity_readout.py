"""From scores to a disparity of full size."""

import pytest
import torch

from recipes.parts.stereo.disparity_readout import soft_argmin, upsample_convex


def test_soft_argmin_of_one_high_score_is_its_bin_even_in_bfloat16():
    scores = torch.zeros(1, 20, 1, 1, dtype=torch.bfloat16)
    scores[0, 17] = 40

    assert soft_argmin(scores).item() == pytest.approx(17, abs=1e-4)


def test_soft_argmin_is_between_two_bins_that_are_alike():
    scores = torch.tensor([0.0, 0.0, 40.0, 40.0]).view(1, 4, 1, 1)

    assert soft_argmin(scores).item() == pytest.approx(2.5)


def test_convex_upsampling_keeps_a_constant_and_stays_between_neighbours():
    torch.manual_seed(0)
    coarse, weights = torch.rand(2, 1, 3, 4), torch.randn(2, 9 * 16, 3, 4)

    fine = upsample_convex(coarse, weights)

    assert fine.shape == (2, 1, 12, 16)
    assert torch.allclose(upsample_convex(torch.full_like(coarse, 7.0), weights), torch.tensor(7.0))
    assert fine.min() >= coarse.min() and fine.max() <= coarse.max()


def test_a_weight_on_the_middle_copies_the_coarse_pixel():
    weights = torch.zeros(1, 9, 4, 2, 2)
    weights[:, 4] = 100.0
    coarse = torch.arange(4.0).view(1, 1, 2, 2)

    fine = upsample_convex(coarse, weights.view(1, 36, 2, 2))

    assert torch.allclose(fine, coarse.repeat_interleave(2, -1).repeat_interleave(2, -2))

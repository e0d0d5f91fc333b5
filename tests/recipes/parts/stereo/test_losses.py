"""Masked distance, smoothness and scale-invariant logarithm, with exact numbers."""

import math

import pytest
import torch

from recipes.parts.stereo.losses import edge_aware_smoothness, masked_smooth_l1, scale_invariant_log

NAN = math.nan


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_only_the_mask_counts_and_it_is_a_mean_over_pixels():
    truth, mask = row(4.0, 4.0, 9.0), torch.tensor([[[[True, True, False]]]])

    # |e| = 2 gives 2 - 0.5, |e| = 0.5 gives 0.5^2 / 2; the third pixel is wrong by 100 and does not count.
    assert masked_smooth_l1([row(6.0, 4.5, 109.0)], truth, mask).item() == pytest.approx((1.5 + 0.125) / 2)


def test_coarse_predictions_count_less_and_the_weights_sum_to_one():
    truth, mask = row(10.0), torch.tensor([[[[True]]]])
    coarse, fine = row(13.5), row(11.5)  # losses 3 and 1

    assert masked_smooth_l1([coarse, fine], truth, mask, gamma=0.5).item() == pytest.approx((0.5 * 3 + 1) / 1.5)
    assert masked_smooth_l1([fine, fine], truth, mask).item() == pytest.approx(1.0)
    assert masked_smooth_l1([coarse, fine], truth, mask, gamma=1.0).item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    "loss",
    [lambda prediction, truth, mask: masked_smooth_l1([prediction], truth, mask), scale_invariant_log],
    ids=["smooth_l1", "log"],
)
def test_an_empty_mask_gives_zero_with_a_gradient_of_zero_even_where_the_truth_is_nan(loss):
    prediction = row(1.0, 2.0).requires_grad_()

    value = loss(prediction, row(NAN, math.inf), torch.zeros(1, 1, 1, 2, dtype=torch.bool))
    value.backward()

    assert value.item() == 0.0 and prediction.grad.tolist() == [[[[0.0, 0.0]]]]


@pytest.mark.parametrize(
    "loss",
    [lambda prediction, truth, mask: masked_smooth_l1([prediction], truth, mask), scale_invariant_log],
    ids=["smooth_l1", "log"],
)
def test_nan_outside_the_mask_reaches_neither_value_nor_gradient(loss):
    prediction = row(3.0, 2.0).requires_grad_()

    value = loss(prediction, row(1.0, NAN), torch.tensor([[[[True, False]]]]))
    value.backward()

    assert value.isfinite() and prediction.grad[0, 0, 0, 0] > 0 and prediction.grad[0, 0, 0, 1] == 0


def test_under_autocast_the_loss_is_float32():
    truth = row(100.0, 200.0)

    assert masked_smooth_l1([truth.bfloat16() + 1], truth, truth > 0).dtype == torch.float32


def test_what_a_user_can_get_wrong_is_named():
    truth, mask = row(1.0, 2.0), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no predictions"):
        masked_smooth_l1([], truth, mask)
    with pytest.raises(ValueError, match=r"\(1, 1, 1, 1\).*must be the same"):
        masked_smooth_l1([row(1.0)], truth, mask)
    with pytest.raises(ValueError, match="must be bool"):
        masked_smooth_l1([truth], truth, mask.float())
    with pytest.raises(ValueError, match="gamma is 0"):
        masked_smooth_l1([truth], truth, mask, gamma=0)
    with pytest.raises(ValueError, match="variance_focus is 2"):
        scale_invariant_log(truth, truth, mask, variance_focus=2)


def test_smoothness_is_the_mean_step_of_the_normalised_disparity():
    grey = torch.zeros(1, 3, 2, 4)
    disparity = row(1.0, 1.0, 3.0, 3.0).expand(1, 1, 2, 4)  # mean 2, so one step of 1 among three

    assert edge_aware_smoothness(disparity, grey).item() == pytest.approx(1 / 3)


def test_an_edge_of_the_image_forgives_a_step_of_the_disparity():
    disparity = row(1.0, 1.0, 3.0, 3.0).expand(1, 1, 2, 4)
    edge_there = row(0.0, 0.0, 0.2, 0.2).expand(1, 3, 2, 4)
    edge_elsewhere = row(0.0, 0.2, 0.2, 0.2).expand(1, 3, 2, 4)

    assert edge_aware_smoothness(disparity, edge_there).item() == pytest.approx(math.exp(-2) / 3, rel=1e-4)
    assert edge_aware_smoothness(disparity, edge_elsewhere).item() == pytest.approx(1 / 3, rel=1e-4)


def test_smoothness_cannot_be_had_by_shrinking():
    torch.manual_seed(0)
    disparity, image = 1 + torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)
    scale = torch.ones((), requires_grad=True)

    edge_aware_smoothness(scale * disparity, image).backward()

    assert abs(scale.grad.item()) < 1e-6


@pytest.mark.parametrize(("focus", "expected"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_a_wrong_scale_costs_what_the_variance_focus_leaves(focus, expected):
    truth = row(4.0, 8.0, 20.0)

    loss = scale_invariant_log(math.e * truth, truth, truth > 0, variance_focus=focus)

    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_the_logarithm_is_scale_invariant_per_sample_and_skips_samples_without_truth():
    truth = torch.cat([row(4.0, 8.0), row(4.0, 8.0), row(0.0, 0.0)])
    prediction = torch.cat([row(8.0, 16.0), row(1.0, 2.0), row(5.0, 5.0)])

    assert scale_invariant_log(prediction, truth, truth > 0, variance_focus=1.0).item() == pytest.approx(0, abs=1e-6)
    # ln 2 and ln 4: squares 0.4805 and 1.9218, over two samples and not three.
    assert scale_invariant_log(prediction, truth, truth > 0, variance_focus=0.0).item() == pytest.approx(
        (math.log(2) ** 2 + math.log(4) ** 2) / 2, rel=1e-5
    )

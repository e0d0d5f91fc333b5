"""Losses of disparity: masked distance to the truth, edge-aware smoothness, scale-invariant logarithm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from kornia.losses import inverse_depth_smoothness_loss
from torch.nn import functional as F


def masked_smooth_l1(
    predictions: Sequence[torch.Tensor],
    truth: torch.Tensor,
    mask: torch.Tensor,
    *,
    gamma: float = 0.9,
    beta: float = 1.0,
) -> torch.Tensor:
    """Smooth L1 in px over the pixels of ``mask``, a weighted mean over coarse-to-fine predictions.

    The prediction k before the last counts gamma^k (as RAFT, 2020), here over the sum of these weights, so that the
    value can be compared between models with other numbers of predictions, and with evaluation mode's single one.

    Args:
        predictions: disparities [B,1,H,W] in px, coarse to fine.
        truth: disparity [B,1,H,W] in px; what stands outside ``mask`` does not matter, not even NaN.
        mask: bool [B,1,H,W], the pixels that count: the same as the metric's. An empty one gives 0, with gradient 0.
        beta: px; below it the loss is quadratic.

    >>> truth, mask = torch.tensor([[[[4.0, 0.0]]]]), torch.tensor([[[[True, False]]]])
    >>> masked_smooth_l1([torch.tensor([[[[6.0, 9.0]]]])], truth, mask)
    tensor(1.5000)
    """
    if not predictions:
        raise ValueError("no predictions; a model gives a list of disparities [B,1,H,W], the best one last")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma is {gamma}; it must be in (0, 1]")
    total, weights = truth.new_zeros((), dtype=torch.float32), 0.0
    for step, prediction in enumerate(reversed(predictions)):
        _check_shapes(prediction, truth, mask)
        weight = gamma**step
        distance = F.smooth_l1_loss(prediction.float(), _only(truth, mask), reduction="none", beta=beta)
        total, weights = total + weight * _masked_mean(distance, mask), weights + weight
    return total / weights


def edge_aware_smoothness(disparity: torch.Tensor, image: torch.Tensor, *, edge_weight: float = 10.0) -> torch.Tensor:
    """How much ``disparity`` [B,1,H,W] changes where ``image`` [B,3,H,W] in 0..1 does not; first order.

    The mean of |d'| exp(-edge_weight |I'|), after each disparity is divided by its own mean (Monodepth2, 2019): without
    that a smaller disparity would be a smoother one, and the term would pull everything away from the camera.

    Args:
        edge_weight: how soon an edge of the image frees the disparity; 10 forgives e times at a step of 0.1.

    >>> torch.manual_seed(0); disparity, image = torch.rand(1, 1, 4, 4), torch.rand(1, 3, 4, 4)   # doctest: +ELLIPSIS
    <torch...>
    >>> torch.allclose(edge_aware_smoothness(disparity, image), edge_aware_smoothness(9 * disparity, image))
    True
    """
    disparity = disparity.float()
    mean = disparity.mean(dim=(1, 2, 3), keepdim=True)
    loss: torch.Tensor = inverse_depth_smoothness_loss(disparity / mean.clamp_min(1e-6), image.float() * edge_weight)
    return loss


def scale_invariant_log(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    mask: torch.Tensor,
    *,
    variance_focus: float = 0.85,
    floor: float = 0.01,
) -> torch.Tensor:
    """Scale-invariant error of the logarithm ("SILog"), a mean over the samples that have any truth.

    With g = ln prediction - ln truth: mean(g^2) - variance_focus mean(g)^2 (Eigen, 2014, equation 4, with 0.5; BTS,
    2019, with 0.85). The same for disparity as for depth, whose logarithm differs by sign and a constant.

    Args:
        prediction, truth: [B,1,H,W], positive inside ``mask``.
        mask: bool [B,1,H,W]; an empty one gives 0, with gradient 0.
        variance_focus: 0 to 1; at 1 a prediction that is wrong by a factor costs nothing.
        floor: both count as at least this.

    >>> truth = torch.tensor([[[[4.0, 8.0]]]])
    >>> scale_invariant_log(2 * truth, truth, truth > 0, variance_focus=1.0).abs() < 1e-6
    tensor(True)
    """
    if not 0 <= variance_focus <= 1:
        raise ValueError(f"variance_focus is {variance_focus}; it must be between 0 and 1")
    _check_shapes(prediction, truth, mask)
    ratio = prediction.float().clamp_min(floor).log() - _only(truth, mask).clamp_min(floor).log()
    ratio = torch.where(mask, ratio, 0.0).flatten(1)
    count = mask.flatten(1).sum(1)
    mean = ratio.sum(1) / count.clamp_min(1)
    mean_square = ratio.square().sum(1) / count.clamp_min(1)
    return (mean_square - variance_focus * mean.square()).sum() / (count > 0).sum().clamp_min(1)


def _only(truth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``truth`` with zeros outside ``mask``: a NaN there would reach the gradient even through a weight of zero."""
    return torch.where(mask, truth, 0.0).float()


def _masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def _check_shapes(prediction: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> None:
    if not prediction.shape == truth.shape == mask.shape:
        shapes = f"prediction {tuple(prediction.shape)}, truth {tuple(truth.shape)}, mask {tuple(mask.shape)}"
        raise ValueError(f"{shapes}: all three must be the same [B,1,H,W]")
    if mask.dtype != torch.bool:
        raise ValueError(f"the mask is {mask.dtype}; it must be bool")

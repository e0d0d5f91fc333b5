"""Losses of an autoencoder of Gaussians: errors of each group of numbers, what the code tells, the picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from kornia.losses import ssim_loss


def group_errors(
    columns: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, groups: Mapping[str, slice]
) -> dict[str, torch.Tensor]:
    """Mean squared error of each group: the sum over its columns, divided by their number, so that each counts alike.

    Of normalised columns [B,N,C], so that predicting the mean has an error of about 1 in every group.

    Args:
        weights: of each number, [B,N,C]; an error is the weighted mean.

    >>> truth, ones = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    >>> guess = torch.tensor([[[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]])
    >>> {name: error.item() for name, error in group_errors(guess, truth, ones, {"xy": slice(0, 2)}).items()}
    {'xy': 5.0}
    """
    squares = (weights * (columns - truth).square()).sum((0, 1)) / weights.sum((0, 1)).clamp_min(1e-6)
    return {name: squares[group].sum() / squares[group].numel() for name, group in groups.items()}


def unit_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """The KL divergence of each unit of the code [B,Z] from the standard normal, in nats: [Z], mean over the batch."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(0)


def code_divergence(mean: torch.Tensor, log_variance: torch.Tensor, *, free_bits: float = 0.0) -> torch.Tensor:
    """The KL divergence of a unit of the code, in nats: the mean over all units.

    Args:
        free_bits: nats that each unit may tell for nothing (Kingma et al., Inverse autoregressive flow, 2016).

    >>> code_divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).item()
    0.25
    """
    return unit_divergence(mean, log_variance).clamp_min(free_bits).mean()


def picture_errors(picture: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """``render_l1``: mean absolute difference; ``render_ssim``: (1 - SSIM) / 2. Of pictures [B,3,S,S]."""
    return {
        "render_l1": (picture - truth).abs().mean(),
        "render_ssim": ssim_loss(picture, truth, window_size=7),
    }

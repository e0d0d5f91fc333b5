"""Loss terms of predicted markers, each a mean over the channels by their weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from kornia.metrics import ssim
from torchvision.ops import sigmoid_focal_loss

from recipes.parts.staining.virtual_staining import Staining

SSIM_WINDOW = 7  # px, about the size of a nucleus
STILL = 0.02  # a channel whose truth varies by less than this in a batch has no spread to be kept
EXPLOSIVE, INERT = 100.0, 0.01


def mean_square(found: Staining) -> torch.Tensor:
    """The mean squared error."""
    return _over_pixels((found.markers - found.truth).square(), found)


def mean_absolute(found: Staining) -> torch.Tensor:
    """The mean absolute error."""
    return _over_pixels((found.markers - found.truth).abs(), found)


def boundary(found: Staining) -> torch.Tensor:
    """The mean absolute error, each pixel counted by how steep the truth is there: the edges of cells."""
    steep = _steepness(found.truth) * found.valid
    error = (found.markers - found.truth).abs() * steep
    return _weighted(error.sum((0, 2, 3)) / steep.sum((0, 2, 3)).clamp_min(1e-3), found)


def structure(found: Staining) -> torch.Tensor:
    """1 - SSIM (Wang et al., 2004) over windows of 7 px."""
    with torch.autocast(found.markers.device.type, enabled=False):  # a variance from 16-bit squares would be noise
        alike = ssim(found.markers.float(), found.truth.float(), SSIM_WINDOW)
    return _over_pixels(1 - alike, found)


def spread(found: Staining) -> torch.Tensor:
    """relu(1 - spread of the prediction / spread of the truth) of each channel over the batch: a floor.

    The slope is the same however flat a prediction is. Channels in which the batch has nothing do not count.
    """
    markers, truth = channel_spread(found.markers, found.valid), channel_spread(found.truth, found.valid)
    missing = (1 - markers / truth.clamp_min(STILL)).relu() * (truth > STILL)
    return _weighted(missing, found)


def focal(found: Staining, *, positive: float) -> torch.Tensor:
    """The focal loss (Lin et al., 2017) of the prediction as a chance that the truth is above ``positive``.

    It pulls a positive pixel towards 1 whatever its strength, against the errors that want the strength.
    """
    chance = found.markers.clamp(1e-4, 1 - 1e-4)
    return _over_pixels(sigmoid_focal_loss(chance.logit(), (found.truth > positive).float()), found)


def variance_exponential(found: Staining) -> torch.Tensor:
    """exp(-100 variance) of each channel's prediction: near 1 wherever a marker is rare, right or wrong."""
    return _weighted((-EXPLOSIVE * channel_spread(found.markers, found.valid).square()).exp(), found)


def variance_square(found: Staining) -> torch.Tensor:
    """relu(0.01 - variance)^2 of each channel's prediction: at most 0.0001, so next to nothing at any usual weight."""
    return _weighted((INERT - channel_spread(found.markers, found.valid).square()).relu().square(), found)


TERMS: dict[str, Callable[[Staining], torch.Tensor]] = {
    "mse": mean_square,
    "l1": mean_absolute,
    "boundary": boundary,
    "ssim": structure,
    "spread": spread,
    "variance_exponential": variance_exponential,
    "variance_square": variance_square,
}


def _over_pixels(values: torch.Tensor, found: Staining) -> torch.Tensor:
    """The mean over valid pixels, then over channels by their weights."""
    known = torch.where(found.valid, values, 0.0).sum((0, 2, 3))
    return _weighted(known / found.valid.sum().clamp_min(1), found)


def _weighted(values: torch.Tensor, found: Staining) -> torch.Tensor:
    """The mean of ``values`` [C] by the channels' weights; what a blank channel has is not seen, NaN neither."""
    counted = found.weights > 0
    return torch.where(counted, values * found.weights, 0.0).sum() / found.weights.sum()


def _steepness(maps: torch.Tensor) -> torch.Tensor:
    """The length of the central differences of ``maps`` [B,C,H,W], 0 at the border."""
    across, down = torch.zeros_like(maps), torch.zeros_like(maps)
    across[..., 1:-1] = (maps[..., 2:] - maps[..., :-2]) / 2
    down[..., 1:-1, :] = (maps[..., 2:, :] - maps[..., :-2, :]) / 2
    return torch.hypot(across, down)


def channel_spread(maps: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The standard deviation [C] of ``maps`` [B,C,H,W] over the valid pixels."""
    count = valid.sum().clamp_min(1)
    mean = torch.where(valid, maps, 0.0).sum((0, 2, 3), keepdim=True) / count
    variance = torch.where(valid, (maps - mean).square(), 0.0).sum((0, 2, 3)) / count
    return (variance + 1e-10).sqrt()  # the root of nought has no slope

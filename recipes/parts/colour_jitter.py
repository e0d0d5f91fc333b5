"""Random brightness, contrast, saturation and gamma of pictures."""

from __future__ import annotations

from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from kornia.augmentation.random_generator import PlainUniformGenerator

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class ColourJitter(IntensityAugmentationBase2D):
    """Random brightness, contrast, saturation and gamma: one linear map of the colours and one power.

    Several times cheaper than kornia's ColorJitter followed by RandomGamma. Contrast is about middle grey and not about
    each image's own mean, so that the same factors do the same to both eyes. Hue is left out: it costs more than all
    others together and tells little about matching.

    Args:
        jitter, gamma: each factor is drawn from 1 +- this.
    """

    FACTORS = ("brightness", "contrast", "saturation", "gamma")

    def __init__(self, *, jitter: float, gamma: float):
        super().__init__(p=1.0)
        spread = (jitter, jitter, jitter, gamma)
        self._param_generator = PlainUniformGenerator(
            *(((1 - by, 1 + by), name, None, None) for name, by in zip(self.FACTORS, spread))
        )

    def apply_transform(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``input`` [B,3,H,W] in 0..1 with each sample's factors applied; in 0..1 too."""
        factors = torch.stack([params[name].float() for name in self.FACTORS], dim=1)
        brightness, contrast, saturation, _ = factors.view(-1, 4, 1, 1).unbind(1)
        towards_grey = (1 - saturation) * torch.tensor(GREY) + saturation * torch.eye(3)
        matrix = brightness * contrast * towards_grey
        offset = 0.5 * (1 - contrast)[..., 0]
        matrix, offset, factors = (part.to(input.device, non_blocking=True) for part in (matrix, offset, factors))
        colours = torch.baddbmm(offset.unsqueeze(-1), matrix, input.flatten(2)).view_as(input)
        return colours.clamp_(0.0, 1.0).pow_(factors[:, 3].view(-1, 1, 1, 1))

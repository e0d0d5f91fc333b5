"""Random changes of H&E pictures and of the markers that belong to them."""

from __future__ import annotations

import math
from typing import Any

import kornia.augmentation as K
import torch
from kornia.augmentation.random_generator import PlainUniformGenerator
from kornia.constants import DataKey, Resample
from torch import nn

from recipes.parts.staining.stain_space import stain_densities, stain_matrix, stained

Batch = dict[str, Any]
SMOOTH, KERNEL = 6.0, 25  # px: deviation and size of the filter that makes an elastic change smooth


class StainAugmentation(nn.Module):
    """Augments a whole batch on its device: geometry moves picture and target alike, stains change in the picture only.

    Flipping or turning the picture alone would teach it the wrong cells. ``valid`` is false afterwards where nothing is
    known, beyond the border of what was bent.

    Args:
        patch: side of the square patches, px.
        turn: flips and quarter turns.
        elastic: the chance that a sample is bent.
        bend: px, the standard deviation of how far pixels of a bent sample move.
        jitter: how much of each stain was taken is multiplied by 1 +- this.
    """

    def __init__(self, patch: int, *, turn: bool = True, elastic: float = 0.2, bend: float = 1.0, jitter: float = 0.1):
        super().__init__()
        steps: list[Any] = []
        if turn:
            steps += [K.RandomHorizontalFlip(p=0.5), K.RandomVerticalFlip(p=0.5), K.RandomRotation90((0, 3), p=1.0)]
        if elastic and bend:
            spread = (1 / 3) ** 0.5 / (2 * math.pi**0.5 * SMOOTH)  # of noise in -1..1 after the filter
            strength = bend / (spread * patch / 2)  # in halves of the picture's side
            sigma, alpha = (SMOOTH, SMOOTH), (strength, strength)
            steps.append(K.RandomElasticTransform((KERNEL, KERNEL), sigma, alpha, align_corners=False, p=elastic))
        if jitter:
            steps.append(StainJitter(jitter))
        # Masks are labels to kornia, and taken from the nearest pixel: markers would move otherwise than the picture.
        like_pictures = {DataKey.MASK: {"resample": Resample.BILINEAR, "align_corners": False}}
        self.steps = (
            K.AugmentationSequential(*steps, data_keys=["input", "mask"], extra_args=like_pictures) if steps else None
        )

    def forward(self, batch: Batch) -> Batch:
        """An augmented copy of ``batch``, a dict with ``he``, ``target`` and ``valid``."""
        if self.steps is None:
            return batch
        maps = torch.cat([batch["target"], batch["valid"].to(batch["target"])], 1)
        he, maps = self.steps(batch["he"], maps)
        return {**batch, "he": he, "target": maps[:, :-1], "valid": maps[:, -1:] > 0.99}


class StainJitter(K.IntensityAugmentationBase2D):
    """Hematoxylin, eosin and the rest of a picture, as densities, times 1 +- ``by`` each (Tellez et al., 2018)."""

    STAINS = ("hematoxylin", "eosin", "rest")

    def __init__(self, by: float):
        super().__init__(p=1.0)
        if not 0 <= by < 1:
            raise ValueError(f"jitter is {by}; it must be in [0, 1)")
        self._param_generator = PlainUniformGenerator(*(((1 - by, 1 + by), name, None, None) for name in self.STAINS))

    def apply_transform(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``input`` [B,3,H,W] in 0..1 with each sample's factors applied; in 0..1 too."""
        matrix = stain_matrix()
        factors = torch.stack([params[name].float().cpu() for name in self.STAINS], 1)
        changed = (factors[:, :, None] * matrix).to(input.device, non_blocking=True)
        return stained(stain_densities(input, matrix.to(input.device)), changed)

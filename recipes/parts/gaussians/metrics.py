"""How well sets of Gaussians are reconstructed, what the code is used for, and how much samples differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from kornia.metrics import ssim

from recipes.parts.gaussians.losses import unit_divergence
from recipes.parts.gaussians.vae import Reconstruction

ACTIVE = 0.01  # variance of a unit's mean above which it says something (Burda et al., 2016)


class _Sums(Metric):
    """A metric of sums over a set, float64, that writes several values under their own names."""

    def __init__(self, **options: Any):
        # Flattened: the values under their own names, and no dict among the numbers of `engine.state.metrics`.
        super().__init__(metrics_result_mode="flatten", **options)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums = torch.zeros(0, dtype=self._double_dtype, device=self._device)

    def _add(self, sums: torch.Tensor) -> None:
        sums = sums.detach().to(self._double_dtype)
        self._sums = sums if self._sums.numel() == 0 else self._sums.to(sums.device) + sums

    def _total(self) -> torch.Tensor:
        if self._sums.numel() == 0:
            raise NotComputableError("there was no sample to measure by")
        return self._sums


class GaussianErrors(_Sums):
    """Errors of reconstructed Gaussians, as parts of those of a predictor that always says the training data's mean.

    It is fed `Reconstruction`s. For each group of numbers: the sum of squared errors over that of the mean predictor,
    which so has exactly 1, all columns normalised. An angle counts by how long its Gaussian is (the form's weights).
    ``std_ratio`` is the spread of the predicted numbers over that of the true ones, 1 wanted, near 0 when all
    predictions are one.

    Args:
        groups: name to columns, see `recipes.parts.gaussians.form`.
    """

    def __init__(self, groups: Mapping[str, slice], **options: Any):
        self.groups = dict(groups)
        super().__init__(**options)

    @reinit__is_reduced
    def update(self, found: Reconstruction) -> None:
        columns, truth, weights = (part.double() for part in (found.columns, found.truth, found.weights))
        rows = [
            weights * (columns - truth).square(),
            weights * truth.square(),
            *(columns, columns.square(), truth, truth.square(), torch.ones_like(truth)),
        ]
        self._add(torch.stack([row.sum((0, 1)) for row in rows]))

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """The errors by name.

        Raises:
            NotComputableError: there was no sample.
        """
        wrong, trivial, once, squares, true_once, true_squares, count = self._total()
        errors = {
            name: (wrong[group].sum() / trivial[group].sum().clamp_min(1e-12)).item()
            for name, group in self.groups.items()
        }
        variance = (squares / count - (once / count).square()).clamp_min(0).sum()
        true_variance = (true_squares / count - (true_once / count).square()).clamp_min(1e-12).sum()
        return {**errors, "std_ratio": (variance / true_variance).sqrt().item()}


class CodeUse(_Sums):
    """What the code says: ``kl``, nats a unit on average, and ``active_units``, the share of units that are used.

    A unit is used if the mean it has for an input varies by more than 0.01 over the inputs (Burda et al., Importance
    weighted autoencoders, 2016). It is fed `Reconstruction`s.
    """

    @reinit__is_reduced
    def update(self, found: Reconstruction) -> None:
        mean, log_variance = found.mean.double(), found.log_variance.double()
        divergence = unit_divergence(mean, log_variance) * len(mean)
        self._add(torch.stack([divergence, mean.sum(0), mean.square().sum(0), torch.full_like(divergence, len(mean))]))

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """``kl`` and ``active_units``.

        Raises:
            NotComputableError: there was no sample.
        """
        divergence, once, squares, count = self._total()
        variance = squares / count - (once / count).square()
        return {
            "kl": (divergence / count).mean().item(),
            "active_units": (variance > ACTIVE).double().mean().item(),
        }


class PictureErrors(_Sums):
    """How the pictures look: ``render_psnr`` in dB and ``ssim``, means over the pictures.

    It is fed pairs (pictures, true pictures), [B,3,S,S]; both are cut to 0..1. Two that are the same have 100 dB.
    """

    @reinit__is_reduced
    def update(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        picture, truth = (part.float().clamp(0.0, 1.0) for part in pair)
        error = (picture - truth).square().mean((1, 2, 3)).clamp_min(1e-10)
        alike = ssim(picture, truth, window_size=7).mean((1, 2, 3))
        self._add(torch.stack([(-10 * error.log10()).sum(), alike.sum(), alike.new_tensor(len(picture))]))

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """``render_psnr`` and ``ssim``.

        Raises:
            NotComputableError: there was no picture.
        """
        ratio, alike, count = self._total().tolist()
        return {"render_psnr": ratio / count, "ssim": alike / count}


class SampleDiversity(_Sums):
    """``diversity``: how much the pictures of samples from the prior differ, over how much true pictures do.

    It is fed pairs (pictures of samples [K,3,S,S], true pictures [B,3,S,S]). The spread of a set is the root of the
    pixels' variances, summed up; two pictures of a set are on average the root of twice that apart. 1 is wanted, 0 says
    that all samples are the same.
    """

    @reinit__is_reduced
    def update(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        rows = []
        for pictures in pair:
            pictures = pictures.double().clamp(0.0, 1.0)
            rows += [pictures.sum(0), pictures.square().sum(0), torch.full_like(pictures[0], len(pictures))]
        self._add(torch.stack(rows))

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """``diversity``; left out where the true pictures are all the same.

        Raises:
            NotComputableError: there was no picture.
        """
        spreads = [
            (squares / count - (once / count).square()).clamp_min(0).sum().item()
            for once, squares, count in self._total().split(3)
        ]
        return {"diversity": math.sqrt(spreads[0] / spreads[1])} if spreads[1] > 1e-9 else {}

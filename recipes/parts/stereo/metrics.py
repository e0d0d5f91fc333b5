"""The usual errors of disparity and depth in one pass, and the trivial predictor to hold them against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch.utils.data import Dataset

Batch = Mapping[str, Any]


class DisparityErrors(Metric):
    """Errors of disparity over all valid pixels of a set: a pixel counts the same in whatever image it stands.

    It is fed ``(disparity, batch)``: the prediction [B,1,H,W] in px and the batch with ``disparity``, the mask and
    ``focal_baseline`` (px m). One object writes all of these into ``engine.state.metrics``, under their own names
    whatever it is attached as:

    - ``epe``: mean absolute error, px
    - ``bad1``, ``bad2``, ``bad3``: percent of pixels that are wrong by more than 1, 2, 3 px
    - ``d1``: percent wrong by more than 3 px and more than 5 % of the truth (KITTI 2015)
    - ``abs_rel``: mean |Z - Z*| / Z* of the depths Z (Eigen, 2014); needs no calibration, which cancels
    - ``rmse``: root mean square error of depth, m; only samples whose ``focal_baseline`` is known count, and the name
      is left out where there are none
    - ``delta1``, ``delta2``, ``delta3``: share of pixels with max(d / d*, d* / d) < 1.25^k
    - ``density``: share of pixels whose truth is valid

    A prediction that is not finite counts as bad in the shares and makes the means not finite. Sums are float64 on the
    device of the prediction; nothing waits for the device before ``compute``, which adds up all processes.

    Args:
        mask: the batch's bool [B,1,H,W] of pixels that count.
        suffix: is added to every name, for a second object with another mask.
        floor: px; smaller disparities count as this one in ``abs_rel``, ``rmse`` and ``delta``, or one pixel near zero
            (at infinity) would outweigh all others.

    >>> metric = DisparityErrors()
    >>> truth = torch.full((1, 1, 2, 2), 10.0)
    >>> metric.update((truth + 2.0, {"disparity": truth, "valid": truth > 0, "focal_baseline": torch.tensor([20.0])}))
    >>> {name: round(value, 3) for name, value in metric.compute().items() if name in ("epe", "bad1", "bad2", "rmse")}
    {'epe': 2.0, 'bad1': 100.0, 'bad2': 0.0, 'rmse': 0.333}
    """

    NAMES = ("epe", "bad1", "bad2", "bad3", "d1", "abs_rel", "rmse", "delta1", "delta2", "delta3", "density")

    def __init__(self, *, mask: str = "valid", suffix: str = "", floor: float = 0.5, **options: Any):
        if floor <= 0:
            raise ValueError(f"floor is {floor} px; it must be above 0")
        self.mask, self.suffix, self.floor = mask, suffix, floor
        # Flattened: the values under their own names, and no dict among the numbers of `engine.state.metrics`.
        super().__init__(metrics_result_mode="flatten", **options)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums = torch.zeros(len(self.NAMES) + 2, dtype=self._double_dtype, device=self._device)

    @reinit__is_reduced
    def update(self, output: tuple[torch.Tensor, Batch]) -> None:
        disparity, batch = output
        truth, mask = batch["disparity"], batch[self.mask]
        if not disparity.shape == truth.shape == mask.shape:
            raise ValueError(
                f"prediction {tuple(disparity.shape)}, disparity {tuple(truth.shape)} and {self.mask} "
                f"{tuple(mask.shape)}: all three must be the same [B,1,H,W]"
            )
        sums = self._sum_batch(disparity.detach().float(), truth.float(), mask, batch["focal_baseline"])
        self._sums = self._sums.to(sums.device) + sums

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """The errors by name.

        Raises:
            NotComputableError: there was no valid pixel.
        """
        sums = dict(zip((*self.NAMES, "calibrated", "pixels"), self._sums.tolist()))
        valid, calibrated, pixels = sums["density"], sums.pop("calibrated"), sums.pop("pixels")
        if valid == 0:
            raise NotComputableError(f"no pixel is '{self.mask}' in the whole set, so there is no truth to measure by")
        rmse = {"rmse": math.sqrt(sums["rmse"] / calibrated)} if calibrated else {}
        percents = {name: 100.0 * sums[name] / valid for name in ("bad1", "bad2", "bad3", "d1")}
        means = {name: sums[name] / valid for name in ("epe", "abs_rel", "delta1", "delta2", "delta3")}
        errors = {**means, **percents, **rmse, "density": valid / pixels}
        return {name + self.suffix: errors[name] for name in self.NAMES if name in errors}

    def _sum_batch(
        self, disparity: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor, focal_baseline: torch.Tensor
    ) -> torch.Tensor:
        """A batch's sum for each of `NAMES`, the number of calibrated pixels and that of all pixels."""
        error = (disparity - truth).abs()
        near, true_near = disparity.clamp_min(self.floor), truth.clamp_min(self.floor)
        ratio = torch.maximum(near / true_near, true_near / near)
        focal_baseline = focal_baseline.float().view(-1, 1, 1, 1)
        calibrated = mask & focal_baseline.isfinite() & (focal_baseline > 0)
        depth_error = focal_baseline / near - focal_baseline / true_near
        # "not within" where the bad are counted: every comparison with NaN is false.
        wrong = {limit: ~(error <= limit) for limit in (1.0, 2.0, 3.0)}
        summands = [
            torch.where(mask, error, 0.0),
            *(mask & wrong[limit] for limit in (1.0, 2.0, 3.0)),
            mask & wrong[3.0] & ~(error <= 0.05 * truth),
            torch.where(mask, (true_near / near - 1).abs(), 0.0),
            torch.where(calibrated, depth_error.square(), 0.0),
            *(mask & (ratio < 1.25**power) for power in (1, 2, 3)),
            mask,
            calibrated,
            torch.ones_like(mask),
        ]
        dtype = torch.float64 if disparity.device.type != "mps" else torch.float32
        return torch.stack([summand.sum(dtype=dtype) for summand in summands])


class MedianDisparity:
    """Predicts one disparity everywhere: what a model must beat.

    The median is the constant with the least ``epe`` on the set that it is taken from. It is called as a recipe's
    ``predict`` is, and ignores the model.

    >>> truth = torch.tensor([[[1.0, 5.0, 9.0, 0.0]]])
    >>> median = MedianDisparity.fit([{"disparity": truth, "valid": truth > 0}])
    >>> median(None, {"disparity": torch.zeros(2, 1, 1, 2)}).flatten()
    tensor([5., 5., 5., 5.])
    """

    def __init__(self, disparity: float):
        self.disparity = disparity

    @classmethod
    def fit(cls, dataset: Sequence[Batch] | Dataset[Batch], *, samples: int = 64) -> MedianDisparity:
        """The median over the valid pixels of at most ``samples`` samples, evenly spread over ``dataset``.

        Raises:
            ValueError: none of them has a valid pixel.
        """
        length = len(dataset)  # type: ignore[arg-type]
        count = min(samples, length)
        pixels = []
        for index in (number * length // count for number in range(count)):
            sample = dataset[index]
            pixels.append(sample["disparity"][sample["valid"]].float())
        known = torch.cat(pixels) if pixels else torch.empty(0)
        if known.numel() == 0:
            raise ValueError(f"no valid pixel in {count} of the data set's {length} samples, so there is no median")
        return cls(known.median().item())

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        """The constant as a disparity [B,1,H,W], px, on the batch's device."""
        return torch.full_like(batch["disparity"], self.disparity)

"""How well markers are predicted, a channel at a time, and what predicting each channel's mean would score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from kornia.metrics import ssim
from torch import nn

from recipes.parts.staining.losses import SSIM_WINDOW
from recipes.parts.staining.virtual_staining import Staining

BINS = 256  # of a prediction in 0..1, for the ranking that the area under the curve is of
NAMES = ("pearson", "ssim", "psnr", "mae", "f1", "auroc", "std_ratio")


class StainingErrors(Metric):
    """Scores of predicted markers over all valid pixels of a set, channel by channel.

    It is fed `Staining`s. Each name is the mean over the counted channels; ``pearson/<channel>``,
    ``psnr/<channel>`` and ``std_ratio/<channel>`` are those of one, ``apart/pearson/<channel>`` and
    ``apart/mae/<channel>`` of a channel that does not count.

    - ``pearson``: the correlation over pixels; 0 where a prediction is the same everywhere.
    - ``ssim``: over windows of 7 px; ``psnr``: dB, of values in 0..1; ``mae``: mean absolute error.
    - ``f1``: of pixels at least ``positive`` in prediction and truth; ``auroc``: the area under the curve of the
      prediction as a score for such truth, to 1/256; channels without such a pixel, or with no other, have none.
    - ``std_ratio``: the spread of the prediction over that of the truth; near 0 when it has collapsed.

    Args:
        channels: their names.
        counted: which of them count.
        positive: the scaled value from which a pixel is positive.
    """

    def __init__(self, channels: Sequence[str], counted: Sequence[bool], *, positive: float, **options: Any):
        self.channels, self.counted, self.positive = tuple(channels), tuple(counted), positive
        # Flattened: the values under their own names, and no dict among the numbers of `engine.state.metrics`.
        super().__init__(metrics_result_mode="flatten", **options)

    @reinit__is_reduced
    def reset(self) -> None:
        count = len(self.channels)
        self._sums = torch.zeros(11, count, dtype=self._double_dtype, device=self._device)
        self._ranked = torch.zeros(2, count, BINS, dtype=self._double_dtype, device=self._device)

    @reinit__is_reduced
    def update(self, found: Staining) -> None:
        # One channel at a time: a whole core of 20 channels would not fit into memory a dozen times over.
        pairs = zip(found.markers.detach().split(1, 1), found.truth.split(1, 1))
        sums, ranked = zip(*(self._of_channel(markers.float(), truth.float(), found.valid) for markers, truth in pairs))
        self._sums = self._sums.to(sums[0].device) + torch.stack(sums, 1)
        self._ranked = self._ranked.to(sums[0].device) + torch.stack(ranked, 1)

    def _of_channel(
        self, markers: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is summed up [11], and how many other and positive pixels have each value [2,BINS]."""
        alike = ssim(markers, truth, SSIM_WINDOW)[valid]
        markers, truth = (part[valid].to(self._double_dtype) for part in (markers, truth))
        said, true = markers >= self.positive, truth >= self.positive
        rows = [torch.ones_like(truth), markers, markers.square(), truth, truth.square(), markers * truth]
        rows += [(markers - truth).abs(), alike, said, true, said & true]
        place = (markers * BINS).long().clamp_(0, BINS - 1) + BINS * true
        ranked = torch.bincount(place, minlength=2 * BINS).view(2, BINS)
        return torch.stack([row.sum(dtype=self._double_dtype) for row in rows]), ranked

    @sync_all_reduce("_sums", "_ranked")
    def compute(self) -> dict[str, float]:
        """The scores by name.

        Raises:
            NotComputableError: there was no valid pixel.
        """
        scores = self._by_channel()
        counted = torch.tensor(self.counted, device=self._sums.device)
        means = {name: values[counted].nanmean().item() for name, values in scores.items()}
        found = {name: value for name, value in means.items() if value == value}
        for number, (channel, counts) in enumerate(zip(self.channels, self.counted)):
            names = ("pearson", "psnr", "std_ratio") if counts else ("pearson", "mae")
            for name in names:
                found[f"{name}/{channel}" if counts else f"apart/{name}/{channel}"] = scores[name][number].item()
        return found

    def _by_channel(self) -> dict[str, torch.Tensor]:
        count, once, squares, true_once, true_squares, both, absolute, alike, said, true, hits = self._sums
        if not count.sum() > 0:
            raise NotComputableError("no pixel is valid in the whole set, so there is nothing to measure by")
        variance = (squares / count - (once / count).square()).clamp_min(0)
        true_variance = (true_squares / count - (true_once / count).square()).clamp_min(0)
        covariance = both / count - once * true_once / count.square()
        tiny = 1e-9  # of a variance: below it a map is the same everywhere, up to rounding
        moves = (variance > tiny) & (true_variance > tiny)
        pearson = torch.where(moves, covariance / (variance * true_variance).sqrt().clamp_min(tiny), 0.0)
        square_error = ((squares - 2 * both + true_squares) / count).clamp_min(1e-10)
        negatives, positives = self._ranked
        below = negatives.cumsum(-1) - negatives / 2
        area = (positives * below).sum(-1) / (positives.sum(-1) * negatives.sum(-1))  # 0/0 where one is missing: NaN
        f1 = torch.where(true > 0, 2 * hits / (said + true).clamp_min(1), torch.nan)
        return {
            "pearson": pearson,
            "ssim": alike / count,
            "psnr": -10 * square_error.log10(),
            "mae": absolute / count,
            "f1": f1,
            "auroc": area,
            "std_ratio": (variance / true_variance.clamp_min(tiny)).sqrt(),
        }


class MeanImage:
    """Predicts each channel's mean everywhere: what a network must beat. Called as a recipe's ``predict`` is.

    The mean is that of the very truth that is evaluated, in the model's scale, so it is the constant with the least
    squared error on it.

    Args:
        dataset: samples with ``target`` and ``valid``.
        skip_bad: go on without those that cannot be read.
    """

    def __init__(self, dataset: Any, *, skip_bad: bool = False):
        self.dataset, self.skip_bad = dataset, skip_bad
        self._mean: torch.Tensor | None = None

    def __call__(self, model: nn.Module, batch: Any) -> Staining:
        if self._mean is None:
            device = batch["target"].device
            with torch.autocast(device.type, enabled=False):  # samples are made and summed up as ever
                self._mean = self._measure(model, device)
        shape = batch["target"].shape
        markers = self._mean.view(1, -1, 1, 1).expand(shape)
        found: Staining = model.beside(markers, batch["target"], batch["valid"])  # type: ignore[operator]
        return found

    def _measure(self, model: nn.Module, device: torch.device) -> torch.Tensor:
        total, count = torch.zeros((), device=device), torch.zeros((), device=device)
        for index in range(len(self.dataset)):
            try:
                sample = {name: value.to(device) for name, value in self.dataset[index].items()}
            except (ValueError, OSError):
                if not self.skip_bad:
                    raise
                continue
            truth = model.scaler(sample["target"][None])[0]  # type: ignore[operator]
            total = total + torch.where(sample["valid"], truth, 0.0).sum((1, 2))
            count = count + sample["valid"].sum()
        return total / count.clamp_min(1)

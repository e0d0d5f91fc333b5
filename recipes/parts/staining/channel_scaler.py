"""Markers of any strength on one scale, 0..1, by quantiles of the training cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from recipes.parts.staining.core import Window

PIXELS = 20_000  # of a core that are looked at
MOST, LEAST = 2.0, 0.5  # a channel counts at most twice as much, and at least half as much, as the usual one


class ChannelScaler(nn.Module):
    """(x - low) / (high - low) of each channel, cut to 0..1; and what each channel counts in a loss.

    ``low`` and ``high`` are quantiles over all training cores, and buffers: they are in the checkpoint, so that an
    evaluation or a resumed run has them and reads no training data. Scaling each crop by its own percentiles, as is
    often done, gives one stain another target in each crop, and stretches an empty crop to the full range.

    Args:
        counted: which channels count; the others have weight 0.

    >>> scaler = ChannelScaler([True, True])
    >>> ramp = torch.linspace(0, 100, 1001)
    >>> scaler.fit_values(torch.stack([ramp, torch.zeros(1001)]), low=0.0, high=0.5)
    >>> scaler(torch.tensor([25.0, 3.0]).view(1, 2, 1, 1)).flatten()
    tensor([0.5000, 1.0000])
    """

    low: torch.Tensor
    high: torch.Tensor
    weights: torch.Tensor

    def __init__(self, counted: Sequence[bool]):
        super().__init__()
        self.counted = tuple(counted)
        self.register_buffer("low", torch.zeros(len(counted)))
        self.register_buffer("high", torch.ones(len(counted)))
        self.register_buffer("weights", torch.tensor(counted, dtype=torch.float32))

    def forward(self, target: torch.Tensor) -> torch.Tensor:
        """``target`` [B,C,H,W] as stored, scaled, float32."""
        low, high = self.low.view(-1, 1, 1), self.high.view(-1, 1, 1)
        return ((target.float() - low) / (high - low)).clamp(0.0, 1.0)

    def fit(
        self, cores: Sequence[Any], *, low: float, high: float, positive: float | None, skip_bad: bool = False
    ) -> None:
        """Take quantiles from cores, each a `Core` and the window of it that is trained on; see `fit_values`.

        Args:
            skip_bad: go on without cores that cannot be read.
        """
        samples = []
        for core, window in cores:
            try:
                sample = core.read(window)
            except (ValueError, OSError):
                if not skip_bad:
                    raise
                continue
            known = sample["target"].flatten(1)[:, sample["valid"].flatten()]
            samples.append(known[:, :: max(1, known.shape[1] // PIXELS)])
        values = torch.cat(samples, 1) if samples else torch.zeros(len(self.counted), 0)
        self.fit_values(values, low=low, high=high, positive=positive)

    @torch.no_grad()
    def fit_values(self, values: torch.Tensor, *, low: float, high: float, positive: float | None = None) -> None:
        """Take the quantiles ``low`` and ``high`` of ``values`` [C,N]; of channels without any spread, the next unit.

        Args:
            positive: a scaled value from which a pixel counts as positive. A channel's weight is then the inverse of
                its share of positive pixels, between a half and twice the median channel's, with mean 1 over the
                counted channels. None: each weighs 1.

        Raises:
            ValueError: there is no pixel.
        """
        if values.shape[1] == 0:
            raise ValueError("no pixel of the training cores is valid, so there is nothing to scale targets by")
        values = values.float().to(self.low.device)
        ordered = values.sort(1).values
        last = ordered.shape[1] - 1
        bottom, top = ordered[:, round(low * last)], ordered[:, round(high * last)]
        self.low.copy_(bottom)
        self.high.copy_(torch.where(top > bottom, top, bottom + 1))
        counted = torch.tensor(self.counted, device=self.weights.device)
        weights = counted.float()
        if positive is not None:
            share = (self(values[None, :, :, None]) > positive).float().mean((0, 2, 3)).clamp_min(1e-6)
            weights = (share[counted].median() / share).clamp(LEAST, MOST) * counted
        self.weights.copy_(weights * counted.sum() / weights.sum())


def whole(core: Any) -> tuple[Any, Window]:
    """A core and the window that is all of it."""
    return core, Window(0, 0, *core.size)

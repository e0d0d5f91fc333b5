"""Disparity of a real image of any size from a network with a stride and a largest disparity."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WIDTH_PER_DISPARITY = 6.0


def predict_disparity(
    model: nn.Module, left: torch.Tensor, right: torch.Tensor, *, max_width: int | None = None
) -> torch.Tensor:
    """The disparity [B,1,H,W] in px of images [B,3,H,W] in 0..1 of any size, without gradient.

    Images are padded to multiples of ``model.stride`` by repeating the border, and the prediction is cut back. Those
    wider than ``max_width`` are predicted at that width, where a disparity is smaller by the same factor, and scaled
    up.

    Args:
        model: in evaluation mode, with attributes ``stride`` and, if ``max_width`` is not given, ``max_disparity``.
        max_width: px. The default is 6 times ``model.max_disparity``: common rigs see disparities up to a sixth of the
            image's width (a focal length of one width, objects from six baselines on).
    """
    if left.shape != right.shape or left.ndim != 4:
        raise ValueError(f"left {tuple(left.shape)}, right {tuple(right.shape)}: both must be the same [B,3,H,W]")
    limit = int(WIDTH_PER_DISPARITY * float(model.max_disparity)) if max_width is None else max_width  # type: ignore
    height, width = left.shape[-2:]
    small = (height, width) if width <= limit else (max(1, round(height * limit / width)), limit)
    stride: int = model.stride  # type: ignore[assignment]
    padding = (0, -small[1] % stride, 0, -small[0] % stride)
    with torch.inference_mode():
        if small != (height, width):
            left, right = (F.interpolate(eye, small, mode="bilinear", antialias=True) for eye in (left, right))
        left, right = (F.pad(eye, padding, mode="replicate") for eye in (left, right))
        disparity = model(left, right)[-1].float()[..., : small[0], : small[1]]
        if small == (height, width):
            return disparity
        return F.interpolate(disparity, (height, width), mode="bilinear") * (width / small[1])

"""Predicted and measured markers as pictures that a person can compare."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recipes.parts.picture_strip import strip


def staining_strip(
    he: torch.Tensor, markers: torch.Tensor, truth: torch.Tensor, *, channels: Sequence[str]
) -> torch.Tensor:
    """The H&E picture, then each channel: predicted above, measured below, both on one scale; [3,H',W'] in 0..1.

    Args:
        he: [3,H,W] in 0..1.
        markers, truth: [C,H,W] in 0..1.
        channels: their names.
    """
    above, below = {"H&E": he.clamp(0, 1)}, {"(predicted above, measured below)": he.clamp(0, 1)}
    for name, found, true in zip(channels, markers, truth):
        above[name] = found.clamp(0, 1).expand(3, -1, -1)
        below[f"{name}, measured"] = true.clamp(0, 1).expand(3, -1, -1)
    return torch.cat([strip(above), strip(below)], 1)

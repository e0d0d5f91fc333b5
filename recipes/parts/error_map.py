"""Errors in px as colours, on the same scale in every picture."""

from __future__ import annotations

import torch

UNKNOWN = 0.45  # grey
# Error in px and its colour; one below 1 px is dark, and the eye is drawn to what is worse than 3 px.
ERROR_COLOURS = (
    (0.0, (0.05, 0.05, 0.20)),
    (1.0, (0.10, 0.30, 0.65)),
    (2.0, (0.30, 0.65, 0.85)),
    (3.0, (0.95, 0.95, 0.75)),
    (6.0, (0.98, 0.60, 0.15)),
    (12.0, (0.75, 0.05, 0.10)),
)


def error_map(prediction: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """How wrong ``prediction`` [B,1,H,W] is, as colours [B,3,H,W] in 0..1; the same scale in every picture.

    Dark blue is right, pale 3 px off, orange 6, red 12 and more, or not finite; grey is unknown.
    """
    error = torch.where(valid, (prediction - truth).abs().float(), 0.0).nan_to_num(nan=torch.inf).unsqueeze(-1)
    stops = error.new_tensor([stop for stop, _ in ERROR_COLOURS])
    colours = error.new_tensor([colour for _, colour in ERROR_COLOURS])
    # How far each stretch between two stops has been gone, 0..1; the colours' steps add up.
    gone = ((error - stops[:-1]) / stops.diff()).clamp(0.0, 1.0)
    colour = (colours[0] + gone @ colours.diff(dim=0)).squeeze(1).permute(0, 3, 1, 2)
    return torch.where(valid, colour, UNKNOWN)

"""Pictures of what an autoencoder of Gaussians does."""

from __future__ import annotations

import math

import torch

from recipes.parts.picture_strip import strip


def reconstruction_strip(truth: torch.Tensor, picture: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """Input and reconstruction, their difference, and a sample from the prior, side by side: [3,H',W'] in 0..1.

    Args:
        truth, picture, sample: [3,S,S].
    """
    truth, picture, sample = (part.detach().float().clamp(0.0, 1.0) for part in (truth, picture, sample))
    error = (picture - truth).square().mean().item()
    ratio = f"{-10 * math.log10(error):.1f} dB" if error > 1e-10 else "exact"
    return strip(
        {
            "input": truth,
            f"reconstruction, {ratio}": picture,
            "difference, twice as large": (0.5 + picture - truth).clamp(0.0, 1.0),
            "sample from the prior": sample,
        }
    )


def walk_strip(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [K,3,S,S] on the way from one code to another, side by side: [3,H',W'] in 0..1."""
    last = len(pictures) - 1
    return strip({f"{number / last:.0%} of the way": one for number, one in enumerate(pictures.clamp(0.0, 1.0))})

"""Disparities as pictures that a person can read."""

from __future__ import annotations

import torch

from recipes.parts.error_map import UNKNOWN, error_map
from recipes.parts.picture_strip import strip

# The polynomial of degree 5 that approximates "turbo" (Mikhailov, 2019, fit by Du): a row a power, a column a colour.
TURBO = (
    (0.13572138, 0.09140261, 0.10667330),
    (4.61539260, 2.19418839, 12.64194608),
    (-42.66032258, 4.84296658, -60.58204836),
    (132.13108234, -14.18503333, 110.36276771),
    (-152.94239396, 4.27729857, -89.90310912),
    (59.28637943, 2.82956604, 27.34824973),
)


def colour_disparity(disparity: torch.Tensor, *, maximum: float, known: torch.Tensor | None = None) -> torch.Tensor:
    """``disparity`` [B,1,H,W] in px as colours [B,3,H,W] in 0..1: 0 is blue, ``maximum`` and above red.

    Args:
        known: bool [B,1,H,W]; where it is false the picture is grey, and so it is where ``disparity`` is not finite.

    >>> red, green, blue = colour_disparity(torch.full((1, 1, 1, 1), 32.0), maximum=64.0).flatten()
    >>> bool(green > 0.9), bool(red < green), bool(blue < green)
    (True, True, True)
    """
    if maximum <= 0:
        raise ValueError(f"maximum is {maximum} px; it must be above 0")
    share = (torch.nan_to_num(disparity.float()) / maximum).clamp(0.0, 1.0)
    colour = torch.zeros_like(share).expand(-1, 3, -1, -1)
    for coefficients in reversed(TURBO):
        colour = colour * share + colour.new_tensor(coefficients).view(1, 3, 1, 1)
    inside = disparity.isfinite() if known is None else disparity.isfinite() & known
    return torch.where(inside, colour.clamp(0.0, 1.0), UNKNOWN)


def disparity_strip(
    left: torch.Tensor, prediction: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Left image, predicted and true disparity on one scale, and the error, of one sample: [3,H',W'] in 0..1.

    Args:
        left: [3,H,W] in 0..1.
        prediction, truth: [1,H,W], px.
        valid: bool [1,H,W].
    """
    known = truth[valid]
    maximum = known.max().item() if known.numel() else prediction.nan_to_num(0.0, 0.0, 0.0).max().item()
    maximum = max(maximum, 1.0)
    epe = f"{(prediction - truth).abs()[valid].mean().item():.2f} px" if known.numel() else "unknown"
    pictures = {
        "left": left,
        f"disparity, 0 to {maximum:.0f} px": colour_disparity(prediction[None], maximum=maximum)[0],
        "truth (grey: unknown)": colour_disparity(truth[None], maximum=maximum, known=valid[None])[0],
        f"error, mean {epe}, red 12+": error_map(prediction[None], truth[None], valid[None])[0],
    }
    return strip({name: picture.to(left.device) for name, picture in pictures.items()})

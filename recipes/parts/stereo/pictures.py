"""Disparities and their errors as pictures that a person can read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

UNKNOWN = 0.45  # grey
# The polynomial of degree 5 that approximates "turbo" (Mikhailov, 2019, fit by Du): a row a power, a column a colour.
TURBO = (
    (0.13572138, 0.09140261, 0.10667330),
    (4.61539260, 2.19418839, 12.64194608),
    (-42.66032258, 4.84296658, -60.58204836),
    (132.13108234, -14.18503333, 110.36276771),
    (-152.94239396, 4.27729857, -89.90310912),
    (59.28637943, 2.82956604, 27.34824973),
)
# Error in px and its colour; one below 1 px is dark, and the eye is drawn to what is worse than 3 px.
ERROR_COLOURS = (
    (0.0, (0.05, 0.05, 0.20)),
    (1.0, (0.10, 0.30, 0.65)),
    (2.0, (0.30, 0.65, 0.85)),
    (3.0, (0.95, 0.95, 0.75)),
    (6.0, (0.98, 0.60, 0.15)),
    (12.0, (0.75, 0.05, 0.10)),
)
GAP, TEXT, MIN_WIDTH = 4, 14, 240  # px


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


def strip(pictures: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Pictures [3,H,W] of one size in 0..1, side by side with their names above; [3,H',W'] in 0..1 on the CPU.

    Small ones are enlarged by a whole factor, so that the names fit and single pixels can be seen.

    >>> strip({"left": torch.rand(3, 40, 80), "right": torch.rand(3, 40, 80)}).shape
    torch.Size([3, 150, 492])
    """
    if len({picture.shape for picture in pictures.values()}) != 1:
        shapes = {name: tuple(picture.shape) for name, picture in pictures.items()}
        raise ValueError(f"the pictures of a strip have one size, these have {shapes}")
    height, width = next(iter(pictures.values())).shape[1:]
    factor = max(1, -(-MIN_WIDTH // width))
    head = TEXT + 3 * GAP
    size = (GAP + len(pictures) * (factor * width + GAP), head + factor * height + GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for number, (name, picture) in enumerate(pictures.items()):
        x = GAP + number * (factor * width + GAP)
        enlarged = F.interpolate(picture.detach().float().cpu()[None], scale_factor=float(factor), mode="nearest")[0]
        pixels = (enlarged.clamp(0.0, 1.0) * 255).round().byte().permute(1, 2, 0).numpy()
        canvas.paste(Image.fromarray(pixels), (x, head))
        draw.text((x, GAP), name, fill="black", font=font)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255


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

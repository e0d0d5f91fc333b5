"""Pictures side by side in one, with their names above."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

GAP, TEXT, MIN_WIDTH = 4, 14, 240  # px


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

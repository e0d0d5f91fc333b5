"""Boxes drawn into pictures, what was found beside the truth."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torchvision.utils import draw_bounding_boxes

from recipes.parts.detection.box_set import Detections
from recipes.parts.detection.metrics import SHOWN
from recipes.parts.picture_strip import strip

WIDTH = 360  # px that a picture has at least when boxes are drawn into it


def detection_strip(
    image: torch.Tensor, found: Detections, boxes: torch.Tensor, labels: torch.Tensor, classes: Sequence[str]
) -> torch.Tensor:
    """Boxes with class and score, and the true ones beside: [3,H',W'] in 0..1. A colour is a class.

    Args:
        image: [3,H,W] in 0..1, without padding.
        found: those with a score below 0.3 are not drawn.
        boxes, labels: the truth.
    """
    shown = found.scores >= SHOWN
    words = [f"{classes[label]} {score:.2f}" for label, score in zip(found.labels[shown], found.scores[shown])]
    drawn = _drawn(image, found.boxes[shown], found.labels[shown], words, len(classes))
    true = _drawn(image, boxes, labels, [classes[label] for label in labels], len(classes))
    return strip({f"found, {len(words)} above {SHOWN}": drawn, f"truth, {len(labels)}": true})


def _drawn(
    image: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, words: list[str], classes: int
) -> torch.Tensor:
    factor = max(1, -(-WIDTH // image.shape[-1]))
    large = F.interpolate(image.detach().float().cpu()[None], scale_factor=float(factor), mode="nearest")[0]
    pixels = (large.clamp(0, 1) * 255).round().byte()
    if not words:
        return pixels.float() / 255
    colours = [_colour(int(label), classes) for label in labels]
    scaled = (boxes.detach().float().cpu() * factor).round()
    scaled[:, 2:] = torch.maximum(scaled[:, 2:], scaled[:, :2] + 1)
    drawn = draw_bounding_boxes(pixels, scaled, words, colours, width=2, fill_labels=True, label_colors="black")
    return drawn.float() / 255


def _colour(label: int, classes: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label / max(classes, 1), 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)

"""What a set-predicting detector answers with, and boxes as it has them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torchvision.ops import box_convert


class BoxSet(NamedTuple):
    """One answer for a batch: ``logits`` [B,Q,C]; ``boxes`` [B,Q,4], centre and size as parts of the picture."""

    logits: torch.Tensor
    boxes: torch.Tensor


class SetOutputs(NamedTuple):
    """All answers of a network.

    ``layers``: the decoder's, first to last. ``proposals``: one for each place of the encoder, where it makes any.
    """

    layers: list[BoxSet]
    proposals: BoxSet | None = None


class Detections(NamedTuple):
    """What is found in a picture: ``boxes`` [N,4] x1 y1 x2 y2 px, ``scores`` [N] in 0..1 downwards, ``labels`` [N]."""

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


class BoxHead(nn.Sequential):
    """Three linear maps from a query [...,width] to four numbers; nought at first where ``start_at_nought``."""

    def __init__(self, width: int, *, start_at_nought: bool = True):
        last = nn.Linear(width, 4)
        if start_at_nought:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last)


def moved(boxes: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """``boxes`` in 0..1 moved ``by`` as much as is said on the scale of logits, where they stay in 0..1.

    >>> moved(torch.full((1, 4), 0.5), torch.zeros(1, 4)).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    return (torch.logit(boxes.float(), eps=1e-4) + by.float()).sigmoid()


def strongest(scores: torch.Tensor, boxes: torch.Tensor, sizes: torch.Tensor, count: int) -> list[Detections]:
    """The ``count`` best pairs of a query and a class of each picture.

    Args:
        scores: [B,Q,C] in 0..1.
        boxes: [B,Q,4], centre and size as parts of the picture.
        sizes: [B,4], width, height, width, height in px.

    >>> scores, boxes = torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[0.5, 0.5, 0.5, 1.0]]])
    >>> found = strongest(scores, boxes, torch.full((1, 4), 8.0), 1)
    >>> found[0].boxes.tolist(), found[0].labels.tolist()
    ([[2.0, 0.0, 6.0, 8.0]], [1])
    """
    corners = box_convert(boxes.float(), "cxcywh", "xyxy") * sizes.unsqueeze(1)
    classes = scores.shape[-1]
    best, place = scores.float().flatten(1).topk(min(count, scores[0].numel()))
    found = []
    for values, places, own, size in zip(best, place, corners, sizes):
        clipped = torch.minimum(own[places // classes].clamp_min(0), size)
        found.append(Detections(clipped, values, places % classes))
    return found

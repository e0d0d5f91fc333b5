"""The trivial detector: the same boxes in every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torchvision.ops import box_convert

MOST = 500  # pictures looked at


class MeanBoxes:
    """Says one box for each class, its mean in the very truth that is evaluated, as likely as a picture has it.

    Called as the recipe's ``predict`` is, by ``answer`` in its form.

    Args:
        boxes: [C,4], centre and size as parts of the picture.
        scores: [C], share of pictures with such an object.
    """

    def __init__(self, boxes: torch.Tensor, scores: torch.Tensor):
        self.boxes, self.scores = boxes, scores

    @classmethod
    def fit(cls, dataset: Any, classes: Sequence[str]) -> MeanBoxes:
        """By the first 500 samples of ``dataset``, as `recipes.parts.detection.boxed_picture` makes them.

        Those that cannot be read are left out; what is to be done about them is for the evaluation to say.
        """
        sums, boxes, pictures = torch.zeros(len(classes), 4), torch.zeros(len(classes)), torch.zeros(len(classes))
        read = 0
        for index in range(min(len(dataset), MOST)):
            try:
                sample: Mapping[str, torch.Tensor] = dataset[index]
            except (ValueError, OSError):
                continue
            read += 1
            labels, (height, width) = sample["labels"], sample["image"].shape[-2:]
            own = box_convert(sample["boxes"], "xyxy", "cxcywh") / torch.tensor([width, height] * 2)
            sums.index_add_(0, labels, own)
            boxes.index_add_(0, labels, torch.ones(len(labels)))
            pictures[labels.unique()] += 1
        return cls(sums / boxes.clamp_min(1).unsqueeze(1), pictures / max(read, 1))

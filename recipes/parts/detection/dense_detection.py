"""How a convolutional detector is asked, judged and read: it does so itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from recipes.parts.detection.box_set import Detections
from recipes.parts.detection.fcos_net import TERMS, DenseOutputs
from recipes.parts.detection.metrics import SHOWN
from recipes.parts.detection.padded_pictures import picture_sizes


class DenseDetection:
    """The counterpart of `SetDetection` (`recipes.parts.detection.set_detection`) for `FcosNet`."""

    def ask(self, model: nn.Module, batch: Mapping[str, Any]) -> DenseOutputs:
        rows = zip(batch["boxes"], batch["labels"], batch["crowd"])
        truth = [{"boxes": boxes[~crowd], "labels": labels[~crowd]} for boxes, labels, crowd in rows]
        outputs: DenseOutputs = model(batch["image"], batch["mask"], truth)
        return outputs

    def terms(self, outputs: DenseOutputs, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """``class``, ``giou`` and ``centre``."""
        return dict(outputs.terms)

    def detections(self, outputs: DenseOutputs, batch: Mapping[str, Any]) -> list[Detections]:
        return outputs.found

    def silent_share(self, outputs: DenseOutputs, found: list[Detections]) -> torch.Tensor:
        """Share of pictures in which nothing would be shown."""
        return torch.tensor([float(not bool((own.scores >= SHOWN).any())) for own in found]).mean()

    def constant(self, boxes: torch.Tensor, scores: torch.Tensor, batch: Mapping[str, Any]) -> DenseOutputs:
        """See `SetDetection`; there is no loss of what answers for no place."""
        device, order = batch["image"].device, scores.argsort(descending=True)
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
        rows = [corners[order].to(device) * size for size in picture_sizes(batch["mask"])]
        found = [Detections(own, scores[order].to(device), order.to(device)) for own in rows]
        return DenseOutputs(found, {name: torch.tensor(torch.nan) for name in TERMS.values()})

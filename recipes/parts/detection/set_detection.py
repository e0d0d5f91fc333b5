"""How a set-predicting detector is asked, judged and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.ops import box_convert

from recipes.parts.detection.box_set import BoxSet, Detections, SetOutputs, strongest
from recipes.parts.detection.metrics import SHOWN
from recipes.parts.detection.padded_pictures import picture_sizes
from recipes.parts.detection.set_losses import Classification, match, set_losses

MOST = 100  # detections of a picture, as COCO counts


class SetDetection:
    """The answers of a network [B,Q] against the objects of each picture, one query for one object.

    Args:
        classify: how classes are said.
        repeats: queries that an object is matched with among the encoder's proposals, see `match`.
        answers: how many the network gives, the proposals counted: a constant one gives as many, so that their losses
            can be compared.
    """

    def __init__(self, classify: Classification, *, repeats: int = 4, answers: int = 1):
        self.classify, self.repeats, self.answers = classify, repeats, answers

    def ask(self, model: nn.Module, batch: Mapping[str, Any]) -> SetOutputs:
        outputs: SetOutputs = model(batch["image"], batch["mask"])
        return outputs

    def terms(self, outputs: SetOutputs, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """``class``, ``l1`` and ``giou`` of the last layer, and ``aux_...``, their sums over all others.

        Crowds are left out. Of a network that has one layer and no proposals the sums are nought.
        """
        boxes, labels = _truth(batch)
        answers = [(answer, 1) for answer in outputs.layers]
        if outputs.proposals is not None:
            answers.insert(0, (outputs.proposals, self.repeats))
        found = []
        for answer, repeats in answers:
            pairs = match(answer, boxes, labels, self.classify, repeats=repeats)
            found.append(set_losses(answer, pairs, boxes, labels, self.classify))
        *others, last = found
        sums = {
            name: torch.stack([terms[name] for terms in others]).sum() if others else last[name] * 0 for name in last
        }
        return last | {f"aux_{name}": value for name, value in sums.items()}

    def detections(self, outputs: SetOutputs, batch: Mapping[str, Any]) -> list[Detections]:
        """What the last layer found, in px."""
        answer = outputs.layers[-1]
        return strongest(self.classify.scores(answer.logits), answer.boxes, picture_sizes(batch["mask"]), MOST)

    def silent_share(self, outputs: SetOutputs, found: list[Detections]) -> torch.Tensor:
        """Share of queries that answer that there is no object: no class has a score that would be shown."""
        best = self.classify.scores(outputs.layers[-1].logits).amax(-1)
        return (best < SHOWN).float().mean()

    def constant(self, boxes: torch.Tensor, scores: torch.Tensor, batch: Mapping[str, Any]) -> SetOutputs:
        """The answer of a predictor that says ``boxes`` [C,4] (parts of the picture) with ``scores`` [C] to all."""
        count, classes = len(batch["image"]), len(boxes)
        logits = torch.logit(scores.clamp(1e-4, 1 - 1e-4)).diag_embed() - 10.0 * (1 - torch.eye(classes))
        logits = torch.cat([logits, torch.zeros(classes, self.classify.outputs(1) - 1)], dim=1)
        device = batch["image"].device
        answer = BoxSet(*(part.to(device).expand(count, -1, -1) for part in (logits, boxes)))
        return SetOutputs([answer] * self.answers)


def _truth(batch: Mapping[str, Any]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Boxes, centre and size as parts of the picture, and labels; without crowds."""
    sizes = picture_sizes(batch["mask"])
    single = [~crowd for crowd in batch["crowd"]]
    boxes = [box_convert(own[one], "xyxy", "cxcywh") / size for own, one, size in zip(batch["boxes"], single, sizes)]
    return boxes, [own[one] for own, one in zip(batch["labels"], single)]

"""The convolutional peer: torchvision's FCOS, fed with padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList

from recipes.parts.detection.box_set import Detections
from recipes.parts.detection.padded_pictures import normalised, picture_sizes

TERMS = {"classification": "class", "bbox_regression": "giou", "bbox_ctrness": "centre"}


class DenseOutputs(NamedTuple):
    """``found`` in each picture, empty in training; loss ``terms``, empty where no truth was given."""

    found: list[Detections]
    terms: dict[str, torch.Tensor]


class FcosNet(nn.Module):
    """FCOS (Tian, 2019) over a feature pyramid of a ResNet, without weights: a box for each place, thinned out by NMS.

    Unlike the transformers here it does not know where padding is: near it, features are others than without it. The
    detector's tensors are named as torchvision's, below ``detector.``.

    Args:
        classes: how many.
        backbone: ``resnet18`` or ``resnet50``.
    """

    def __init__(self, classes: int, *, backbone: str = "resnet18"):
        super().__init__()
        pyramid = resnet_fpn_backbone(
            backbone_name=backbone,
            weights=None,
            norm_layer=nn.BatchNorm2d,
            trainable_layers=5,
            returned_layers=[2, 3, 4],
        )
        sizes = ((16,), (32,), (64,), (128,))  # px, of a place's share of the picture: a level for each
        self.detector = FCOS(pyramid, num_classes=classes, anchor_generator=_places(sizes), score_thresh=0.05)

    def forward(
        self, image: torch.Tensor, mask: torch.Tensor, truth: Sequence[dict[str, torch.Tensor]] | None = None
    ) -> DenseOutputs:
        """Detections, and loss terms where there is ``truth``: of each picture ``boxes`` [N,4] px, ``labels`` [N]."""
        x, sizes = normalised(image), picture_sizes(mask)[:, [1, 0]].int().tolist()
        maps = list(self.detector.backbone(x).values())
        answers = self.detector.head(maps)
        places = self.detector.anchor_generator(ImageList(x, [tuple(x.shape[-2:])] * len(x)), maps)
        counts = [level.shape[-2] * level.shape[-1] for level in maps]
        terms = {}
        if truth is not None:
            losses = self.detector.compute_loss(list(truth), _floats(answers), places, counts)
            terms = {TERMS[name]: value for name, value in losses.items()}
        if self.training:
            return DenseOutputs([], terms)
        levels = {name: list(value.split(counts, dim=1)) for name, value in _floats(answers).items()}
        split = [list(own.split(counts)) for own in places]
        rows = self.detector.postprocess_detections(levels, split, [tuple(size) for size in sizes])
        return DenseOutputs([Detections(row["boxes"], row["scores"], row["labels"]) for row in rows], terms)


def _places(sizes: tuple[tuple[int], ...]) -> nn.Module:
    return AnchorGenerator(sizes, ((1.0,),) * len(sizes))


def _floats(answers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in answers.items()}

"""Matching of queries and objects, and the losses of what was matched (DETR, Carion, 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from recipes.parts.detection.box_set import BoxSet

BOX_COST, OVERLAP_COST = 5.0, 2.0
Pairs = list[tuple[torch.Tensor, torch.Tensor]]


class Focal:
    """Each class by itself, sigmoid, with the focal loss (Lin, 2017): a query that finds nothing says no to all."""

    cost_weight = 2.0
    prior: float | None = 0.01

    def outputs(self, classes: int) -> int:
        """How many numbers a query says."""
        return classes

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Probability of each class [B,Q,C]."""
        return logits.float().sigmoid()

    def cost(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What it costs that a query stands for an object: [Q,C], [N] to [Q,N]."""
        own = logits[:, labels]
        miss = sigmoid_focal_loss(own, torch.ones_like(own))
        false_alarm = sigmoid_focal_loss(own, torch.zeros_like(own))
        return miss - false_alarm

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, objects: int) -> torch.Tensor:
        """Of the batch, for one object. ``targets`` [B,Q] is the class of what a query found, C for nothing."""
        wanted = F.one_hot(targets, logits.shape[-1] + 1)[..., :-1].to(logits)
        return sigmoid_focal_loss(logits, wanted, reduction="sum") / objects


class NoObject:
    """One class more, softmax: a query that finds nothing says so, and counts ``weight`` times as much (DETR)."""

    cost_weight = 1.0
    prior: float | None = None

    def __init__(self, weight: float = 0.1):
        self.weight = weight

    def outputs(self, classes: int) -> int:
        return classes + 1

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.float().softmax(-1)[..., :-1]

    def cost(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return -logits.softmax(-1)[:, labels]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, objects: int) -> torch.Tensor:
        weights = logits.new_ones(logits.shape[-1])
        weights[-1] = self.weight
        return F.cross_entropy(logits.transpose(1, 2), targets, weights)


Classification = Focal | NoObject


@torch.no_grad()
def match(
    answer: BoxSet, boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], classify: Classification,
    *, repeats: int = 1,
) -> Pairs:  # fmt: skip
    """For each picture the queries and the objects that belong together: the pairs of least cost in sum (Kuhn, 1955).

    Args:
        boxes: of the objects of each picture, [N,4], centre and size as parts of the picture.
        labels: their classes [N].
        repeats: queries that each object is matched with, one being DETR's; more teach the encoder's many places
            faster (H-DETR, Jia, 2023).

    >>> answer = BoxSet(torch.zeros(1, 2, 1), torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]]]))
    >>> match(answer, [torch.tensor([[0.7, 0.7, 0.2, 0.2]])], [torch.tensor([0])], Focal())
    [(tensor([1]), tensor([0]))]
    """
    costs = []
    for logits, found, true, kinds in zip(answer.logits.float(), answer.boxes.float(), boxes, labels):
        cost = classify.cost_weight * classify.cost(logits, kinds) + BOX_COST * torch.cdist(found, true, p=1)
        costs.append(cost - OVERLAP_COST * generalized_box_iou(corners(found), corners(true)))
    # All pictures' costs come to the host at once: each copy waits for the device.
    flat = torch.cat([cost.flatten() for cost in costs]).nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6).cpu()
    pairs = []
    for cost, own in zip(costs, flat.split([cost.numel() for cost in costs])):
        table = np.tile(own.view(cost.shape).numpy(), (1, repeats))
        queries, objects = linear_sum_assignment(table)
        chosen = (torch.as_tensor(part, device=cost.device) for part in (queries, objects % max(cost.shape[1], 1)))
        pairs.append(tuple(chosen))
    return pairs  # type: ignore[return-value]


def set_losses(
    answer: BoxSet, pairs: Pairs, boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor],
    classify: Classification,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Terms ``class``, ``l1`` and ``giou`` of one answer, for each object of the batch.

    Args:
        pairs: of `match`.
        boxes, labels: as there.
    """
    logits, found = answer.logits.float(), answer.boxes.float()
    nothing = logits.shape[-1] - (classify.outputs(1) - 1)
    targets = torch.full(logits.shape[:2], nothing, dtype=torch.int64, device=logits.device)
    mine, theirs = [], []
    for number, (queries, chosen) in enumerate(pairs):
        targets[number, queries] = labels[number][chosen]
        mine.append(found[number, queries])
        theirs.append(boxes[number][chosen])
    matched, truth = torch.cat(mine), torch.cat(theirs)
    objects = max(len(matched), 1)
    return {
        "class": classify.loss(logits, targets, objects),
        "l1": F.l1_loss(matched, truth, reduction="sum") / objects,
        "giou": generalized_box_iou_loss(corners(matched), corners(truth), reduction="sum") / objects,
    }


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Centre and size to x1, y1, x2, y2."""
    return box_convert(boxes, "cxcywh", "xyxy")

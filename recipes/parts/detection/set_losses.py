"""Matching of queries and objects, and the losses of what was matched (DETR, Carion, 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
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
        """What it costs that a query stands for an object: [B,Q,C], [B,N] to [B,Q,N]."""
        own = _of_classes(logits, labels)
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
        return -_of_classes(logits.softmax(-1), labels)

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
    boxes_of_all, kinds = (pad_sequence(list(part), batch_first=True) for part in (boxes, labels))
    logits, found = answer.logits.float(), answer.boxes.float()
    costs = classify.cost_weight * classify.cost(logits, kinds) + BOX_COST * torch.cdist(found, boxes_of_all, p=1)
    costs -= OVERLAP_COST * generalized_box_iou(corners(found), corners(boxes_of_all))
    # All pictures' costs come to the host at once: each copy waits for the device.
    tables = costs.nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6).cpu().numpy()
    pairs = []
    for table, own in zip(tables, boxes):
        queries, objects = linear_sum_assignment(np.tile(table[:, : len(own)], (1, repeats)))
        pairs.append((torch.as_tensor(queries), torch.as_tensor(objects % max(len(own), 1))))
    return pairs


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
    counts = torch.tensor([len(own) for own in labels])
    first = counts.cumsum(0) - counts  # where a picture's objects begin among all
    picture = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(queries) for queries, _ in pairs]))
    query = torch.cat([queries for queries, _ in pairs])
    chosen = torch.cat([objects for _, objects in pairs]) + first[picture]
    picture, query, chosen = (index.to(logits.device, non_blocking=True) for index in (picture, query, chosen))
    targets[picture, query] = torch.cat(list(labels))[chosen]
    matched, truth = found[picture, query], torch.cat(list(boxes))[chosen]
    objects = max(len(matched), 1)
    return {
        "class": classify.loss(logits, targets, objects),
        "l1": F.l1_loss(matched, truth, reduction="sum") / objects,
        "giou": generalized_box_iou_loss(corners(matched), corners(truth), reduction="sum") / objects,
    }


def _of_classes(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What is said of each object's class: [B,Q,C], [B,N] to [B,Q,N]."""
    return values.gather(2, labels.unsqueeze(1).expand(-1, values.shape[1], -1))


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Centre and size to x1, y1, x2, y2."""
    return box_convert(boxes, "cxcywh", "xyxy")

"""COCO's average precision and recall, of each class too, and how many objects too many or too few are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from faster_coco_eval import COCO
from faster_coco_eval import COCOeval_faster as Evaluation
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced

from recipes.parts.detection.box_set import Detections

SHOWN = 0.3  # score from which an object is shown and counted
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar",
         "ar_small", "ar_medium", "ar_large")  # fmt: skip


class DetectionScores(Metric):
    """COCO's numbers over a whole set, in 0..1; it is fed ``(list of Detections, batch)``.

    Written into ``engine.state.metrics`` under their own names, whatever it is attached as:

    - ``ap``: average precision, mean over classes and over overlaps (IoU) of 0.5, 0.55, ... 0.95; ``ap50``, ``ap75``:
      at one overlap; ``ap_small``, ``ap_medium``, ``ap_large``: of objects below 32 x 32 px of the picture on disk,
      from there to 96 x 96 px, above that
    - ``ar1``, ``ar10``, ``ar``: average recall with at most 1, 10, 100 detections a picture; and ``ar_small`` ...
    - ``ap/<class>``: of each class
    - ``count_error``: mean difference of the number of detections with a score of 0.3 or more to that of objects

    What has no object in the whole set is left out. Crowds are neither found nor missed. The C++ of faster-coco-eval
    does what pycocotools does. Every process gets all numbers.

    Args:
        classes: names, in the order of their labels.

    >>> box, label = torch.tensor([[2.0, 2.0, 8.0, 8.0]]), torch.tensor([0])
    >>> batch = {"boxes": [box], "labels": [label], "crowd": [label > 0], "scale": torch.ones(1, 2)}
    >>> scores = DetectionScores(["disc"])
    >>> scores.update(([Detections(box, torch.tensor([0.9]), label)], batch))
    >>> scores.compute()["ap"], scores.compute()["count_error"]
    (1.0, 0.0)
    """

    def __init__(self, classes: Sequence[str], **options: Any):
        self.classes = tuple(classes)
        # Flattened: the values under their own names, and no dict among the numbers of `engine.state.metrics`.
        super().__init__(metrics_result_mode="flatten", **options)

    @reinit__is_reduced
    def reset(self) -> None:
        self._truths: list[np.ndarray] = []  # a picture: rows of x1 y1 x2 y2 label crowd
        self._found: list[np.ndarray] = []  # rows of x1 y1 x2 y2 label score

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[Detections], Mapping[str, Any]]) -> None:
        detections, batch = output
        rows = zip(detections, batch["boxes"], batch["labels"], batch["crowd"], batch["scale"])
        for found, boxes, labels, crowd, scale in rows:
            self._truths.append(_table(boxes, scale, labels, crowd))
            # An answer that is not finite is a wrong one, and no error.
            self._found.append(
                np.nan_to_num(_table(found.boxes, scale, found.labels, found.scores), posinf=0, neginf=0)
            )

    def compute(self) -> dict[str, float]:
        """The numbers by name.

        Raises:
            NotComputableError: there was no picture.
        """
        truths, found = self._truths, self._found
        if idist.get_world_size() > 1:
            shares: Any = idist.all_gather((truths, found))
            truths, found = ([table for share in shares for table in share[part]] for part in (0, 1))
        if not truths:
            raise NotComputableError("there was no picture to measure by")
        shown = [int((table[:, 5] >= SHOWN).sum()) for table in found]
        there = [int((table[:, 5] == 0).sum()) for table in truths]
        errors = {"count_error": float(np.abs(np.subtract(shown, there)).mean())}
        return {**self._precisions(truths, found), **errors}

    def _precisions(self, truths: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
        evaluation = Evaluation(_truth(truths, self.classes), None, "bbox", print_function=_silent)
        detections = _results(found)
        if not detections or not any(len(table) for table in truths):
            known = {"ap": 0.0, "ap50": 0.0, "ap75": 0.0, "ar": 0.0} if any(len(table) for table in truths) else {}
            return known
        evaluation.cocoDt = evaluation.cocoGt.loadRes(detections)
        evaluation.run()
        values = dict(zip(NAMES, map(float, evaluation.stats)))
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # overlap, recall, class; any size, 100 detections
        for number, name in enumerate(self.classes):
            own = precision[:, :, number]
            values[f"ap/{name}"] = float(own[own > -1].mean()) if (own > -1).any() else -1.0
        return {name: value for name, value in values.items() if value > -1}


def _table(boxes: torch.Tensor, scale: torch.Tensor, labels: torch.Tensor, last: torch.Tensor) -> np.ndarray:
    """Rows of x1 y1 x2 y2 in px of the picture on disk, label, and ``last``."""
    columns = [boxes.float() * scale.repeat(2), labels.unsqueeze(1), last.float().unsqueeze(1)]
    table: np.ndarray = torch.cat(columns, dim=1).double().cpu().numpy()
    return table


def _truth(tables: Sequence[np.ndarray], classes: Sequence[str]) -> COCO:
    coco = COCO(print_function=_silent)
    rows = [(image, row) for image, table in enumerate(tables) for row in table.tolist()]
    coco.dataset = {
        "images": [{"id": image} for image in range(len(tables))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": int(row[4]), "iscrowd": int(row[5]), **_box(row)}
            for number, (image, row) in enumerate(rows, start=1)
        ],
    }
    coco.createIndex()
    return coco


def _results(tables: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(row[4]), "score": row[5], **_box(row)}
        for image, table in enumerate(tables)
        for row in table.tolist()
    ]


def _box(row: Sequence[float]) -> dict[str, Any]:
    width, height = row[2] - row[0], row[3] - row[1]
    return {"bbox": [row[0], row[1], width, height], "area": width * height}


def _silent(*words: object) -> None:
    """The library tells its steps; nobody asked."""

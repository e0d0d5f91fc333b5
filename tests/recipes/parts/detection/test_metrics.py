import contextlib
import io

import numpy as np
import pytest
import torch
from ignite.exceptions import NotComputableError

from recipes.parts.detection.box_set import Detections
from recipes.parts.detection.metrics import DetectionScores

CLASSES = ("a", "b", "c")


def pictures(seed, count=40, *, crowds=True):
    """Random truths and detections near them, some doubled, some of another class, some from nowhere."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator)

    for number in range(count):
        objects = number % 6  # every sixth picture is empty
        corner = random(objects, 2) * 150
        boxes = torch.cat([corner, corner + 8 + random(objects, 2) ** 2 * 150], dim=1)
        labels = torch.randint(0, 3, (objects,), generator=generator)
        crowd = random(objects) < 0.15 if crowds else torch.zeros(objects, dtype=torch.bool)
        source = torch.randint(0, max(objects, 1), (12 if objects else 3,), generator=generator)
        found = boxes[source] if objects else random(3, 4).cumsum(1) * 50
        found = found + torch.randn(found.shape, generator=generator) * 4
        found[:, 2:] = torch.maximum(found[:, 2:], found[:, :2] + 1)
        kinds = labels[source].clone() if objects else torch.zeros(3, dtype=torch.int64)
        kinds[random(len(kinds)) < 0.2] = 1
        batch = {"boxes": [boxes], "labels": [labels], "crowd": [crowd], "scale": torch.ones(1, 2)}
        yield Detections(found, random(len(found)), kinds), batch


def reference(samples):
    """What pycocotools says: its twelve numbers, and the average precision of each class."""
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    from pycocotools.cocoeval import COCOeval

    truth, results = coco.COCO(), []
    truth.dataset = {"images": [], "annotations": [], "categories": [{"id": n} for n in range(3)], "info": {}}
    for number, (found, batch) in enumerate(samples):
        truth.dataset["images"].append({"id": number})
        rows = zip(batch["boxes"][0].tolist(), batch["labels"][0].tolist(), batch["crowd"][0].tolist())
        for (x1, y1, x2, y2), label, crowd in rows:
            truth.dataset["annotations"].append({
                "id": len(truth.dataset["annotations"]) + 1, "image_id": number, "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd),
            })  # fmt: skip
        for (x1, y1, x2, y2), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()):
            row = {"image_id": number, "category_id": label, "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            results.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return evaluation.stats, [precision[:, :, number].mean() for number in range(3)]


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_pycocotools(seed):
    samples, metric = list(pictures(seed)), DetectionScores(CLASSES)
    for found, batch in samples:
        metric.update(([found], batch))
    values = metric.compute()
    stats, classes = reference(samples)
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar")
    assert [values[name] for name in names] == pytest.approx(stats[: len(names)], abs=1e-3)
    assert [values[f"ap/{name}"] for name in CLASSES] == pytest.approx(classes, abs=1e-3)
    assert 0.05 < values["ap"] < 0.95


def one(*corners):
    return torch.tensor([corners], dtype=torch.float32)


def batch_of(boxes, label=0, crowd=False, scale=1.0):
    return {
        "boxes": [boxes], "labels": [torch.full((len(boxes),), label)],
        "crowd": [torch.full((len(boxes),), crowd)], "scale": torch.full((1, 2), scale),
    }  # fmt: skip


def found(boxes, score=0.9, label=0):
    return [Detections(boxes, torch.full((len(boxes),), score), torch.full((len(boxes),), label))]


def test_an_overlap_of_six_tenths_is_right_at_three_of_ten_thresholds():
    metric = DetectionScores(["a"])
    metric.update((found(one(0, 0, 6.2, 10)), batch_of(one(0, 0, 10, 10))))  # 0.5, 0.55, 0.6
    assert metric.compute()["ap"] == pytest.approx(0.3)
    assert metric.compute()["ap50"] == pytest.approx(1.0)
    assert metric.compute()["ap75"] == 0.0


def test_sizes_are_those_of_the_picture_on_disk():
    metric = DetectionScores(["a"])
    metric.update((found(one(0, 0, 20, 20)), batch_of(one(0, 0, 20, 20), scale=2.0)))
    values = metric.compute()
    assert "ap_small" not in values
    assert values["ap_medium"] == pytest.approx(1.0)


def test_crowds_are_neither_found_nor_missed():
    metric = DetectionScores(["a"])
    metric.update((found(one(0, 0, 10, 10)), batch_of(one(0, 0, 10, 10))))
    metric.update((found(one(50, 50, 60, 60)), batch_of(one(40, 40, 90, 90), crowd=True)))
    assert metric.compute()["ap"] == pytest.approx(1.0)
    assert metric.compute()["count_error"] == 0.5


def test_nothing_found_is_nought_and_an_empty_set_has_no_precision():
    metric = DetectionScores(["a"])
    metric.update((found(torch.zeros(0, 4)), batch_of(one(0, 0, 10, 10))))
    assert metric.compute() == {"ap": 0, "ap50": 0, "ap75": 0, "ar": 0, "count_error": 1}
    metric.reset()
    metric.update((found(one(0, 0, 9, 9)), batch_of(torch.zeros(0, 4))))
    assert metric.compute() == {"count_error": 1.0}
    metric.reset()
    with pytest.raises(NotComputableError):
        metric.compute()


def test_scores_that_are_not_finite_end_nothing():
    metric = DetectionScores(["a"])
    metric.update((found(one(0, 0, 10, 10), score=float("nan")), batch_of(one(0, 0, 10, 10))))
    assert np.isfinite(metric.compute()["ap"])

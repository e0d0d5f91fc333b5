import torch

from recipes.parts.detection.dense_detection import DenseDetection
from recipes.parts.detection.fcos_net import FcosNet
from tests.recipes.parts.detection.test_set_detection import BATCH


def test_it_asks_with_the_truth_but_for_crowds():
    seen = {}

    def model(image, mask, truth):
        seen.update(truth=truth)
        return FcosNet(2).eval()(image, mask, truth)

    task = DenseDetection()
    outputs = task.ask(model, BATCH)
    assert [len(row["boxes"]) for row in seen["truth"]] == [1, 0]
    assert set(task.terms(outputs, BATCH)) == {"class", "giou", "centre"}
    assert task.silent_share(outputs, task.detections(outputs, BATCH)) == 1.0  # at first it finds nothing


def test_a_constant_answer_has_detections_and_no_losses():
    task = DenseDetection()
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    outputs = task.constant(boxes, torch.tensor([0.2, 0.7]), BATCH)
    first = task.detections(outputs, BATCH)[0]
    assert first.boxes.tolist() == [[0, 0, 40, 20], [10, 5, 30, 15]]
    assert first.labels.tolist() == [1, 0]
    assert task.silent_share(outputs, outputs.found) == 0.0
    assert all(term.isnan() for term in task.terms(outputs, BATCH).values())

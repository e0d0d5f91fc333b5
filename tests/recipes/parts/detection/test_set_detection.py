import pytest
import torch

from recipes.parts.detection.box_set import BoxSet, SetOutputs
from recipes.parts.detection.padded_pictures import collate_pictures
from recipes.parts.detection.set_detection import SetDetection
from recipes.parts.detection.set_losses import Focal, NoObject

BATCH = collate_pictures([
    {
        "image": torch.rand(3, 20, 40), "boxes": torch.tensor([[10.0, 5, 30, 15], [0, 0, 40, 20]]),
        "labels": torch.tensor([1, 0]), "crowd": torch.tensor([False, True]), "scale": torch.ones(2),
    },
    {
        "image": torch.rand(3, 30, 30), "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
        "crowd": torch.zeros(0, dtype=torch.bool), "scale": torch.ones(2),
    },
])  # fmt: skip
RIGHT = torch.tensor([0.5, 0.5, 0.5, 0.5])  # the first box, as parts of the picture and not of the batch


def answer(boxes, outputs=2, sure=0.0):
    logits = torch.full((2, len(boxes), outputs), -sure)
    logits[:, 0, 1] = sure
    return BoxSet(logits, torch.stack([boxes, boxes]))


def test_a_right_answer_costs_nothing_and_others_are_summed_apart():
    right = answer(torch.stack([RIGHT, RIGHT / 2]), sure=9.0)
    wrong = answer(torch.stack([RIGHT / 2, RIGHT / 4]))
    task = SetDetection(Focal())
    terms = task.terms(SetOutputs([wrong, wrong, right]), BATCH)
    assert set(terms) == {"class", "l1", "giou", "aux_class", "aux_l1", "aux_giou"}
    assert terms["l1"].item() == pytest.approx(0.0, abs=1e-6)
    assert terms["giou"].item() == pytest.approx(0.0, abs=1e-5)
    assert terms["aux_l1"].item() == pytest.approx(2 * 1.0)  # a quarter in each of four numbers, two layers
    once = task.terms(SetOutputs([right, wrong]), BATCH)["giou"].item()
    assert terms["aux_giou"].item() == pytest.approx(2 * once)


def test_proposals_learn_several_times():
    task = SetDetection(Focal(), repeats=2)
    boxes = torch.stack([RIGHT, RIGHT / 2])
    outputs = SetOutputs([answer(boxes)], answer(boxes))
    assert task.terms(outputs, BATCH)["aux_l1"].item() == pytest.approx((0.0 + 1.0) / 2)  # for each pair


def test_one_layer_alone_has_no_others():
    terms = SetDetection(Focal()).terms(SetOutputs([answer(torch.stack([RIGHT, RIGHT]))]), BATCH)
    assert terms["aux_class"] == terms["aux_l1"] == terms["aux_giou"] == 0


@pytest.mark.parametrize(("classify", "outputs"), [(Focal(), 2), (NoObject(), 3)])
def test_detections_are_in_px_and_silence_is_counted(classify, outputs):
    task, boxes = SetDetection(classify), torch.stack([RIGHT, RIGHT / 2])
    given = SetOutputs([answer(boxes, outputs, sure=9.0)])
    given.layers[0].logits[:, 1] = -9.0
    if outputs == 3:
        given.layers[0].logits[:, 1, 2] = 9.0
    first, _ = found = task.detections(given, BATCH)
    assert first.boxes[0].tolist() == [10, 5, 30, 15]
    assert first.labels[0] == 1
    assert first.scores[0] > 0.99
    assert task.silent_share(given, found).item() == 0.5


@pytest.mark.parametrize("classify", [Focal(), NoObject()])
def test_a_constant_answer_has_losses_and_detections(classify):
    task = SetDetection(classify, answers=3)
    outputs = task.constant(torch.stack([RIGHT, RIGHT / 2]), torch.tensor([0.2, 0.7]), BATCH)
    first = task.detections(outputs, BATCH)[0]
    assert first.labels[:2].tolist() == [1, 0]
    assert first.boxes[1].tolist() == [10, 5, 30, 15]
    assert all(term.isfinite() for term in task.terms(outputs, BATCH).values())
    terms = task.terms(outputs, BATCH)
    assert terms["aux_l1"].item() == pytest.approx(2 * terms["l1"].item())
    if isinstance(classify, Focal):
        assert first.scores[:2].tolist() == pytest.approx([0.7, 0.2], abs=1e-3)

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from recipes.parts.detection.box_set import BoxSet
from recipes.parts.detection.set_losses import Focal, NoObject, corners, match, set_losses


def answer(boxes, logits=None, outputs=2):
    boxes = torch.tensor([boxes], dtype=torch.float32)
    return BoxSet(torch.zeros(1, boxes.shape[1], outputs) if logits is None else torch.tensor([logits]), boxes)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from([Focal(), NoObject()]))
def test_no_other_pairing_costs_less(seed, objects, classify):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(1, 5, 4, generator=generator) * 0.4 + 0.1
    found = BoxSet(torch.randn(1, 5, classify.outputs(3), generator=generator), boxes)
    truth = torch.rand(objects, 4, generator=generator) * 0.4 + 0.1
    labels = torch.randint(0, 3, (objects,), generator=generator)
    ((queries, chosen),) = match(found, [truth], [labels], classify)
    cost = classify.cost_weight * classify.cost(found.logits, labels[None])[0]
    cost = cost + 5 * torch.cdist(boxes[0], truth, p=1) - 2 * generalized_box_iou(corners(boxes[0]), corners(truth))
    least = min(sum(cost[q, o].item() for o, q in enumerate(order)) for order in permutations(range(5), objects))
    assert cost[queries, chosen].sum().item() == pytest.approx(least, abs=1e-4)
    assert sorted(chosen.tolist()) == list(range(objects))


def test_objects_may_be_repeated_and_pictures_empty():
    found = answer([[0.2, 0.2, 0.1, 0.1], [0.22, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    truth, label = torch.tensor([[0.2, 0.2, 0.1, 0.1]]), torch.tensor([1])
    ((queries, objects),) = match(found, [truth], [label], Focal(), repeats=2)
    assert (queries.tolist(), objects.tolist()) == ([0, 1], [0, 0])
    ((queries, objects),) = match(found, [truth[:0]], [label[:0]], Focal())
    assert len(queries) == len(objects) == 0


def test_an_answer_that_is_not_finite_is_matched_all_the_same():
    found = answer([[math.nan] * 4, [0.8, 0.8, 0.1, 0.1]])
    ((queries, _),) = match(found, [torch.tensor([[0.2, 0.2, 0.1, 0.1]])], [torch.tensor([0])], Focal())
    assert queries.tolist() == [1]


def test_terms_of_a_known_answer():
    truth, label = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([0])
    found = answer([[0.5, 0.5, 0.4, 0.2], [0.1, 0.1, 0.1, 0.1]])  # twice as wide: IoU 0.5, the hull is itself
    pairs = match(found, [truth], [label], Focal())
    terms = set_losses(found, pairs, [truth], [label], Focal())
    assert terms["l1"].item() == pytest.approx(0.2)
    assert terms["giou"].item() == pytest.approx(0.5, abs=1e-5)
    # four logits of 0: one wanted (alpha 0.25), three not (0.75), each (1 - 0.5)^2 log 2
    assert terms["class"].item() == pytest.approx((0.25 + 3 * 0.75) * 0.25 * math.log(2), abs=1e-5)


def test_no_object_counts_a_tenth():
    truth, label = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([0])
    found = answer([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]], logits=[[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    classify = NoObject(0.1)
    terms = set_losses(found, match(found, [truth], [label], classify), [truth], [label], classify)
    right, nothing = math.log(1 + 2 * math.exp(-2)), math.log(3)
    assert terms["class"].item() == pytest.approx((right + 0.1 * nothing) / 1.1, abs=1e-5)


@pytest.mark.parametrize("classify", [Focal(), NoObject()])
def test_a_batch_without_objects_teaches_classes_alone(classify):
    logits = torch.zeros(2, 3, classify.outputs(2), requires_grad=True)
    boxes = torch.full((2, 3, 4), 0.5, requires_grad=True)
    none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    found = BoxSet(logits, boxes)
    terms = set_losses(found, match(found, *none, classify), *none, classify)
    assert terms["l1"] == terms["giou"] == 0
    sum(terms.values()).backward()
    assert logits.grad.abs().sum() > 0
    assert boxes.grad.abs().sum() == 0


def test_scores_are_probabilities_of_the_classes():
    logits = torch.tensor([[[0.0, math.log(3)]]])
    assert Focal().scores(logits).flatten().tolist() == pytest.approx([0.5, 0.75])
    assert NoObject().scores(logits).flatten().tolist() == pytest.approx([0.25])

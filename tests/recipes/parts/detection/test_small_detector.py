import pytest
import torch

from recipes.parts.detection.small_detector import SmallDetector


def network(**options):
    """Far from its beginning, at which boxes do not depend on the picture."""
    torch.manual_seed(0)
    model = SmallDetector(4, queries=12, width=32, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    for _ in range(2):
        model(torch.rand(4, 3, 64, 64), torch.ones(4, 64, 64, dtype=torch.bool))  # statistics
    return model.eval()


def padded(pictures, height, width):
    image, mask = torch.full((len(pictures), 3, height, width), 0.7), torch.zeros(len(pictures), height, width).bool()
    for number, picture in enumerate(pictures):
        rows, columns = picture.shape[1:]
        image[number, :, :rows, :columns] = picture
        mask[number, :rows, :columns] = True
    return image, mask


@torch.no_grad()
def test_an_answer_does_not_change_when_the_padding_grows():
    model, pictures = network(), [torch.rand(3, 61, 50), torch.rand(3, 40, 93)]
    few, many = model(*padded(pictures, 64, 96)), model(*padded(pictures, 160, 224))
    for first, second in zip(few.layers, many.layers):
        assert (first.logits - second.logits).abs().max() < 1e-4
        assert (first.boxes - second.boxes).abs().max() < 1e-5


@torch.no_grad()
def test_a_picture_in_a_batch_has_the_answer_that_it_has_alone():
    model, pictures = network(), [torch.rand(3, 61, 50), torch.rand(3, 128, 93)]
    batched = model(*padded(pictures, 128, 96)).layers[-1]
    for number, picture in enumerate(pictures):
        alone = model(*padded([picture], *((64, 64) if number == 0 else (128, 96)))).layers[-1]
        assert (alone.logits[0] - batched.logits[number]).abs().max() < 1e-4
        assert (alone.boxes[0] - batched.boxes[number]).abs().max() < 1e-5


@torch.no_grad()
def test_a_tiny_picture_beside_a_large_one_has_fewer_queries_and_no_others():
    model = network()
    found = model(*padded([torch.rand(3, 16, 16), torch.rand(3, 96, 96)], 96, 96)).layers[-1]
    assert (found.logits[0].amax(-1) > -20).sum() == 4  # it has 2 x 2 places
    assert found.logits.isfinite().all()
    assert found.boxes.isfinite().all()


def test_classes_begin_as_unlikely_and_boxes_where_their_places_are():
    torch.manual_seed(0)
    model = SmallDetector(3, width=32).eval()
    with torch.no_grad():
        proposals = model(torch.rand(1, 3, 64, 96), torch.ones(1, 64, 96, dtype=torch.bool)).proposals
    assert proposals.logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.01)
    assert proposals.boxes[0, 0].tolist() == pytest.approx([4 / 96, 4 / 64, 24 / 96, 24 / 64], abs=1e-3)
    assert proposals.boxes[0, -1, :2].tolist() == pytest.approx([92 / 96, 60 / 64], abs=1e-3)


def test_every_layer_learns_and_boxes_are_moved_one_layer_at_a_time():
    model = SmallDetector(3, width=32, layers=2).train()
    found = model(torch.rand(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=torch.bool))
    sum(layer.boxes.sum() + layer.logits.sum() for layer in found.layers).backward()
    assert model.box_heads[0][-1].weight.grad is not None
    assert model.box_head[-1].weight.grad is None  # where a layer begins is given, not learnt by it

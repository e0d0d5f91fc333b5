import pytest
import torch

from recipes.parts.detection.augmentation import DetectionAugmentation
from recipes.parts.detection.padded_pictures import MEAN, collate_pictures
from recipes.parts.detection.procedural_shapes import ProceduralShapes


def picture(*boxes, height=20, width=24):
    """White boxes on black."""
    image = torch.zeros(3, height, width)
    for x1, y1, x2, y2 in boxes:
        image[:, y1:y2, x1:x2] = 1
    return {
        "image": image,
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(len(boxes)),
        "crowd": torch.zeros(len(boxes), dtype=torch.bool),
        "scale": torch.ones(2),
    }


def white(batch, number=0):
    rows, columns = (batch["image"][number, 0] > 0.7).nonzero().T
    return [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]


@pytest.mark.parametrize(
    ("flips", "expected"),
    [((1, 0), [18, 3, 22, 8]), ((0, 1), [2, 12, 6, 17]), ((1, 1), [18, 12, 22, 17]), ((0, 0), [2, 3, 6, 8])],
)
def test_a_flip_leaves_the_picture_in_its_corner_and_its_box_on_it_to_the_pixel(flips, expected):
    """Kornia alone gives a box one pixel off: to it a coordinate is the middle of a pixel."""
    batch = collate_pictures([picture((2, 3, 6, 8))])
    changed = DetectionAugmentation(flip=flips[0], vertical_flip=flips[1], jitter=0)(batch)
    assert changed["boxes"][0].tolist() == [expected]
    assert white(changed) == expected
    assert torch.equal(changed["mask"], batch["mask"])
    assert torch.allclose(changed["image"][0, :, -1, -1], torch.tensor(MEAN))


def test_boxes_follow_scale_and_place_and_end_at_the_border():
    torch.manual_seed(0)
    batch = collate_pictures([picture((30, 30, 50, 60), height=80, width=90)] * 8)
    changed = DetectionAugmentation(flip=0, scale=0.3, move=0.2, jitter=0)(batch)
    assert len({tuple(boxes[0].tolist()) for boxes in changed["boxes"]}) == 8
    for number, boxes in enumerate(changed["boxes"]):
        assert boxes[0].tolist() == pytest.approx(white(changed, number), abs=1)


def test_a_box_that_has_nearly_left_is_dropped_with_its_label():
    torch.manual_seed(0)
    batch = collate_pictures([picture((0, 10, 6, 20), (20, 20, 40, 40), height=60, width=60)] * 32)
    changed = DetectionAugmentation(flip=0, move=0.2, jitter=0)(batch)
    assert {len(labels) for labels in changed["labels"]} == {1, 2}
    for boxes, labels in zip(changed["boxes"], changed["labels"]):
        assert len(boxes) == len(labels)
        assert 1 in labels.tolist()
        assert (boxes >= 0).all()
        assert (boxes <= 60).all()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        assert (areas >= 0.29 * torch.tensor([60.0, 400.0])[labels]).all()


def test_four_pictures_in_one_bring_their_labels_along():
    torch.manual_seed(1)
    samples = [picture((4, 4, 20, 20), height=32, width=32), picture(height=32, width=32)]
    samples += [picture((8, 8, 30, 12), (2, 14, 30, 30), height=32, width=32)] * 2
    changed = DetectionAugmentation(flip=0, jitter=0, mosaic=1.0)(collate_pictures(samples))
    assert max(len(labels) for labels in changed["labels"]) > 2
    for number, boxes in enumerate(changed["boxes"]):
        assert len(boxes) == len(changed["labels"][number]) == len(changed["crowd"][number])
        covered = torch.zeros(32, 32, dtype=torch.bool)
        for x1, y1, x2, y2 in boxes.round().int().tolist():
            covered[y1:y2, x1:x2] = True
            assert changed["image"][number, 0, y1:y2, x1:x2].mean() > 0.9  # a box lies on its object
    assert changed["mask"].all()


def test_empty_pictures_and_the_batch_given_stay_as_they_are():
    batch = collate_pictures([ProceduralShapes(4, fixed=True)[index] for index in range(4)] + [picture()])
    before = batch["image"].clone()
    changed = DetectionAugmentation(scale=0.2, mosaic=0.5)(batch)
    assert torch.equal(batch["image"], before)
    assert len(changed["boxes"]) == 5
    assert 0 <= changed["image"].min() <= changed["image"].max() <= 1

import torch

from recipes.parts.detection.box_set import Detections
from recipes.parts.detection.pictures import detection_strip

CLASSES = ["disc", "box"]


def strip_of(*scores):
    boxes = torch.tensor([[20.0, 20, 60, 60]]).repeat(len(scores), 1)
    found = Detections(boxes, torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64))
    image = torch.full((3, 80, 90), 0.5)
    return detection_strip(image, found, torch.tensor([[20.0, 20, 60, 60]]), torch.tensor([1]), CLASSES)


def coloured(picture):
    """Pixels that are not grey."""
    return int((picture.amax(0) - picture.amin(0) > 0.3).sum())


def test_found_stands_beside_the_truth_and_classes_have_colours():
    drawn = strip_of(0.9)
    left, right = drawn.chunk(2, dim=2)
    assert coloured(left) > 500
    assert coloured(right) > 500
    assert (left[0] - left[1]).max() > 0.5  # red is the first class
    assert (right[2] - right[0]).max() > 0.5  # the second is not


def test_weak_boxes_are_not_drawn_and_no_box_is_a_picture_too():
    for drawn in (strip_of(0.1), strip_of()):
        assert coloured(drawn.chunk(2, dim=2)[0]) == 0

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.detection.procedural_shapes import SHAPES, ProceduralShapes


@pytest.mark.parametrize("crowded", [False, True])
def test_every_box_lies_in_its_picture_and_has_an_area(crowded):
    data = ProceduralShapes(60, crowded=crowded, fixed=True)
    samples = [data[index] for index in range(60)]
    for sample in samples:
        height, width = sample["image"].shape[-2:]
        assert 64 <= height <= 96
        assert 64 <= width <= 96
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        boxes = sample["boxes"]
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 3).all()
        assert len(boxes) == len(sample["labels"]) == len(sample["crowd"])
    counts = [len(sample["labels"]) for sample in samples]
    assert counts.count(0) in ((3, 4, 5, 6, 7, 8, 9) if not crowded else range(1, 12))  # a tenth is empty
    assert set(torch.cat([sample["labels"] for sample in samples]).tolist()) == set(range(len(SHAPES)))
    assert len({sample["image"].shape for sample in samples}) > 50  # so every batch has padding


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31))
def test_every_crowd_can_be_drawn(seed):
    """Some shapes lie far outside the picture."""
    data = ProceduralShapes(1, sides=(32, 48), crowded=True, fixed=True, seed=seed)
    assert len(data[0]["boxes"]) <= 16


def test_crowds_are_crowded():
    few, many = (
        sum(len(data[index]["labels"]) for index in range(40))
        for data in (ProceduralShapes(40, fixed=True), ProceduralShapes(40, fixed=True, crowded=True))
    )
    assert many > 2 * few


def test_a_fixed_sample_is_always_the_same_and_others_follow_torch():
    fixed, drawn = ProceduralShapes(3, fixed=True, seed=5), ProceduralShapes(3)
    assert torch.equal(fixed[1]["image"], fixed[1]["image"])
    torch.manual_seed(0)
    first = drawn[0]["image"]
    torch.manual_seed(0)
    assert torch.equal(first, drawn[2]["image"])


def test_a_box_is_as_tight_as_its_shape():
    """A shape differs from the ground inside its box, in its first and last row."""
    data = ProceduralShapes(200, fixed=True)
    single = next(s for s in (data[i] for i in range(200)) if len(s["labels"]) == 1 and s["boxes"][0, 0] > 5)
    x1, y1, x2, y2 = single["boxes"][0].int().tolist()
    image = single["image"]
    colour = image[:, (y1 + y2) // 2, (x1 + x2) // 2]
    alike = (image - colour[:, None, None]).abs().amax(0) < 0.2
    assert alike[y1:y2, x1:x2].any(0).float().mean() > 0.9


def test_sides_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 32"):
        ProceduralShapes(1, sides=(16, 64))

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.detection.padded_pictures import MEAN, collate_pictures, normalised, picture_sizes


def picture(height, width, boxes=0):
    return {
        "image": torch.rand(3, height, width),
        "boxes": torch.rand(boxes, 4),
        "labels": torch.zeros(boxes, dtype=torch.int64),
        "crowd": torch.zeros(boxes, dtype=torch.bool),
        "scale": torch.ones(2),
    }


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=4))
def test_pictures_stand_in_the_upper_left_corner_and_the_mask_says_where(sizes):
    samples = [picture(*size) for size in sizes]
    batch = collate_pictures(samples)
    height, width = batch["image"].shape[-2:]
    assert height % 32 == width % 32 == 0
    assert 0 <= height - max(h for h, _ in sizes) < 32
    assert 0 <= width - max(w for _, w in sizes) < 32
    assert picture_sizes(batch["mask"]).tolist() == [[w, h, w, h] for h, w in sizes]
    for number, (h, w) in enumerate(sizes):
        assert torch.equal(batch["image"][number, :, :h, :w], samples[number]["image"])
        assert batch["mask"][number].sum() == h * w


def test_padding_is_nought_after_normalisation():
    batch = collate_pictures([picture(8, 8)])
    padding = normalised(batch["image"])[0, :, ~batch["mask"][0]]
    assert padding.abs().max() == 0  # exactly, so that growing it adds nothing


def test_black_padding_without_a_mask_is_there_to_be_compared_with():
    batch = collate_pictures([picture(8, 40), picture(40, 8)], padding="zero", masked=False)
    assert batch["mask"].all()
    assert batch["image"][0, :, 8:].abs().max() == 0
    assert normalised(batch["image"])[0, :, -1, -1].tolist() == pytest.approx([-2.118, -2.036, -1.804], abs=1e-3)


def test_boxes_stay_lists_and_empty_pictures_are_kept():
    batch = collate_pictures([picture(8, 8, boxes=2), picture(8, 8)])
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0]
    assert torch.allclose(batch["image"][1, :, -1, -1], torch.tensor(MEAN))

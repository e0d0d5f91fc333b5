"""Pairs of several sizes in one batch."""

import torch

from recipes.parts.stereo.batches import collate_stereo


def pair(height, width, value):
    image = torch.full((3, height, width), value)
    truth = torch.full((1, height, width), 5.0)
    return {"left": image, "right": image, "disparity": truth, "valid": truth > 0, "focal_baseline": torch.tensor(9.0)}


def test_pairs_of_one_size_are_stacked_untouched():
    batch = collate_stereo([pair(2, 3, 0.1), pair(2, 3, 0.2)])
    assert batch["left"].shape == (2, 3, 2, 3)
    assert batch["focal_baseline"].tolist() == [9.0, 9.0]
    assert bool(batch["valid"].all())


def test_padding_repeats_the_image_and_counts_nowhere():
    batch = collate_stereo([pair(2, 5, 0.1), pair(4, 3, 0.2)])
    assert batch["disparity"].shape == (2, 1, 4, 5)
    assert batch["valid"].sum(dim=(1, 2, 3)).tolist() == [10, 12]
    assert torch.all(batch["right"][0] == 0.1)
    assert batch["disparity"][1, 0, :, 3:].abs().sum() == 0

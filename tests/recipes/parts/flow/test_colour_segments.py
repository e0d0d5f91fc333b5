"""Regions of one colour: connected, numbered by size, and good enough for cartoons."""

import torch

from recipes.parts.flow.colour_segments import colour_segments, largest_first
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons


def test_two_regions_of_one_colour_that_do_not_touch_are_two():
    image = torch.zeros(3, 5, 9, dtype=torch.uint8)
    image[:, :, 4] = 200  # a wall between a left half of 20 and a right one of 20
    image[:, 0, 8] = 100

    labels = colour_segments(image)

    assert labels[0, 2, 0] != labels[0, 2, 8]
    assert len(labels.unique()) == 4 and labels[0, 0, 0] == 0 and labels[0, 0, 8] == 3


def test_a_region_that_winds_is_one():
    maze = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]])
    labels = colour_segments((255 * maze).byte().expand(3, 5, 5))
    assert labels.unique().tolist() == [0, 1] and torch.equal(labels[0] == 0, maze == 1)


def test_diagonal_neighbours_do_not_touch():
    image = (255 * torch.eye(3)).byte().expand(3, 3, 3)
    assert len(colour_segments(image).unique()) == 5


def test_large_pictures_are_looked_at_in_small():
    image = torch.zeros(3, 300, 700, dtype=torch.uint8)
    image[:, :, 350:] = 255
    labels = colour_segments(image)
    assert labels.shape == (1, 300, 700) and labels[0, 0, 0] == labels[0, 299, 340] != labels[0, 0, 699]


def test_numbers_beyond_the_count_and_below_nought_are_none():
    labels = torch.tensor([[[5, 5, 5, 9, 9, 2, -1, -1, -1, -1]]])
    assert largest_first(labels, count=2).tolist() == [[[0, 0, 0, 1, 1, -1, -1, -1, -1, -1]]]


def test_the_flat_segments_of_a_cartoon_are_found():
    clip = ProceduralCartoons(4, size=(64, 96), fixed=True)[1]
    found = colour_segments((255 * clip["frames"][0]).byte())
    true = clip["segments"][0]
    pure = [true[found == number].bincount().max() / (found == number).sum() for number in range(int(found.max()) + 1)]
    assert min(pure) > 0.5 and sum(pure) / len(pure) > 0.8  # next to none reaches over a segment's outline

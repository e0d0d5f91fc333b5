"""Strips of pictures: what stands where."""

import torch

from recipes.parts.gaussians.pictures import reconstruction_strip, walk_strip


def test_a_reconstruction_stands_between_its_input_and_the_difference():
    truth, picture = torch.zeros(3, 64, 64), torch.full((3, 64, 64), 0.25)
    strip = reconstruction_strip(truth, picture, torch.ones(3, 64, 64))
    row = strip[:, strip.shape[1] // 2]

    middles = [row[:, 4 + 130 + number * 260].mean().item() for number in range(4)]
    assert [round(value, 2) for value in middles] == [0.0, 0.25, 0.75, 1.0]


def test_exact_pictures_and_colours_out_of_range_are_drawn():
    picture = torch.full((3, 64, 64), 3.0)
    strip = reconstruction_strip(picture, picture, -picture)

    assert strip.isfinite().all() and strip.min() >= 0 and strip.max() <= 1


def test_a_walk_goes_from_left_to_right():
    shades = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 3, 64, 64)
    strip = walk_strip(shades)
    row = strip[0, strip.shape[1] // 2]

    assert [round(row[4 + 130 + number * 260].item(), 2) for number in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]

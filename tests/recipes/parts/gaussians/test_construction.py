"""Gaussians by construction: they look like the picture, and turn with it."""

import math

import pytest
import torch

from recipes.parts.gaussians.construction import construct_gaussians
from recipes.parts.gaussians.form import CanonicalForm
from recipes.parts.gaussians.order import balanced_order
from recipes.parts.gaussians.procedural_pictures import draw_pictures
from recipes.parts.gaussians.render import render


def pictures(count=8):
    return draw_pictures(count, generator=torch.Generator().manual_seed(3))


def psnr(first, second):
    return -10 * (first.clamp(0, 1) - second).square().mean((1, 2, 3)).log10()


def test_their_render_looks_like_the_picture():
    images = pictures()

    assert psnr(render(construct_gaussians(images)), images).mean() > 33  # measured: 36.7 dB
    assert psnr(render(construct_gaussians(images, 128)), images).mean() > 26
    mean = images.mean((2, 3), keepdim=True).expand_as(images)
    assert psnr(mean, images).mean() < 15


def test_there_are_more_where_there_is_more_to_see():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 20:] = 1.0
    x = construct_gaussians(image, 64)[0, :, 0] * 32

    assert ((x > 18) & (x < 22)).float().mean() > 0.4  # an eighth of the picture


def test_on_an_edge_they_lie_along_it():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for degrees in (0, 30, 60, 90, 135):
        angle = math.radians(degrees)
        distance = (y - 31.5) * math.cos(angle) - (x - 31.5) * math.sin(angle)
        image = torch.sigmoid(2 * distance).expand(1, 3, 64, 64)
        gaussians = construct_gaussians(image)[0]
        columns = CanonicalForm().encode(gaussians)
        near = torch.sigmoid(
            2 * ((gaussians[:, 1] - 0.5) * math.cos(angle) - (gaussians[:, 0] - 0.5) * math.sin(angle))
        )
        on_edge = columns[(near - 0.5).abs() < 0.005]
        assert len(on_edge) > 10
        assert on_edge[:, 4].mean().item() == pytest.approx(math.cos(2 * angle), abs=0.15)
        assert on_edge[:, 5].mean().item() == pytest.approx(math.sin(2 * angle), abs=0.15)
        assert (gaussians[:, 4].abs() <= math.pi / 4 + 1e-5).all()


def test_they_come_in_the_order_of_the_balanced_tree():
    gaussians = construct_gaussians(pictures(4), 64)
    place = balanced_order(gaussians[..., :2])

    assert (
        place == torch.arange(64)
    ).float().mean() > 0.6  # of equal edges, where the tree's halves are of equal count


def test_a_plain_picture_gives_an_even_grid_of_its_colour():
    gaussians = construct_gaussians(torch.full((1, 3, 16, 16), 0.25), 64)[0]

    assert torch.allclose(gaussians[:, 5:], torch.tensor(0.25), atol=1e-5)
    columns = sorted({round(x, 2) for x in gaussians[:, 0].tolist()})
    assert columns == pytest.approx([(2 * number + 1) / 16 for number in range(8)], abs=0.01)
    assert torch.allclose(gaussians[:, 2:4], torch.tensor(1 / (0.45 * 2.0)), rtol=1e-2)


def test_a_batch_is_made_as_its_pictures_are():
    images = pictures(3)

    assert torch.allclose(construct_gaussians(images)[1:2], construct_gaussians(images[1:2]), atol=1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="count is 100; halving gives a power of two"):
        construct_gaussians(torch.rand(1, 3, 8, 8), 100)
    with pytest.raises(ValueError, match=r"images are \(1, 3, 8, 9\)"):
        construct_gaussians(torch.rand(1, 3, 8, 9))

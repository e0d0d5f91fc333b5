"""The picture of Gaussians: by hand, beside a loop over pixels and Gaussians, beside real fits; its gradient."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.gaussians.render import render

FITS = Path(__file__).resolve().parents[4] / "../shared/data/vae/image_gs_fits"


def draw(count=40, batch=2, seed=0):
    gaussians = torch.rand(batch, count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    gaussians[..., 2:4] = 0.15 + gaussians[..., 2:4]
    gaussians[..., 4] = (gaussians[..., 4] - 0.5) * 6
    return gaussians


def render_by_loop(gaussians, size, side, strongest, eps=1e-4):
    picture = np.zeros((3, size, size))
    for row in range(size):
        for column in range(size):
            found = []
            for x, y, first, second, angle, *colour in gaussians.double().tolist():
                dx = ((column + 0.5) / size - x) * side
                dy = ((row + 0.5) / size - y) * side
                along = (dx * math.cos(angle) + dy * math.sin(angle)) * first
                across = (dy * math.cos(angle) - dx * math.sin(angle)) * second
                found.append((math.exp(-(along**2 + across**2) / 2), colour))
            found = sorted(found, reverse=True)[:strongest]
            total = sum(weight for weight, _ in found) + eps
            picture[:, row, column] = sum(weight * np.array(colour) for weight, colour in found) / total
    return torch.from_numpy(picture).float()


@pytest.mark.parametrize("strongest", [10, 1, None])
@pytest.mark.parametrize(("size", "side"), [(12, 12), (10, 20)])
def test_it_is_what_a_loop_over_pixels_and_gaussians_gives(strongest, size, side):
    gaussians = draw()
    pictures = render(gaussians, size=size, side=side, strongest=strongest)

    for picture, one in zip(pictures, gaussians):
        assert torch.allclose(picture, render_by_loop(one, size, side, strongest), atol=2e-4)


def test_one_gaussian_by_hand():
    # Two Gaussians of 1 px, at the centres of the outer ones of three pixels: the middle one is halfway.
    gaussians = torch.tensor([[[1 / 6, 0.5, 1, 1, 0, 1, 0, 0], [5 / 6, 0.5, 1, 1, 0, 0, 0, 1.0]]])
    row = render(gaussians, size=3, side=3, eps=0.0)[0, :, 1]

    ratio = math.exp(-2)  # 2 px away
    assert row[0].tolist() == pytest.approx([1 / (1 + ratio), 0.5, ratio / (1 + ratio)], rel=1e-5)
    assert row[2].tolist() == pytest.approx(row[0].flip(0).tolist(), rel=1e-5)


def test_an_angle_turns_from_x_down_towards_y():
    # Long along 45°: right and down from the middle there is more of it than right and up.
    beam = [0.5, 0.5, 0.1, 2.0, math.pi / 4, 1, 1, 1]
    picture = render(torch.tensor([[beam]]), size=9, side=9)[0, 0]

    assert picture[8, 8] > 0.99 and picture[0, 8] < 0.01


def test_order_and_parts_do_not_matter(monkeypatch):
    gaussians = draw()
    whole = render(gaussians, size=16, side=16)

    assert torch.allclose(render(gaussians.flip(1), size=16, side=16), whole, atol=1e-5)
    monkeypatch.setattr("recipes.parts.gaussians.render.EVALUATIONS", 500)
    assert torch.allclose(render(gaussians, size=16, side=16), whole, atol=1e-5)


def test_the_gradient_is_that_of_small_differences():
    gaussians = draw(12, 1)
    goal = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    def error(numbers):
        return (render(numbers, size=8, side=8, strongest=None) - goal).square().sum()

    gaussians.requires_grad_(True)
    error(gaussians).backward()
    step = 1e-2
    for number in range(8):
        moved = torch.zeros_like(gaussians)
        moved[0, 5, number] = step
        with torch.no_grad():
            slope = (error(gaussians + moved) - error(gaussians - moved)) / (2 * step)
        assert gaussians.grad[0, 5, number].item() == pytest.approx(slope.item(), rel=0.03, abs=2e-3), number


def test_only_the_strongest_get_a_gradient():
    gaussians = draw(20, 1).requires_grad_(True)
    render(gaussians, size=1, side=8, strongest=3).sum().backward()

    assert (gaussians.grad[0].abs().sum(1) > 0).sum() == 3


def test_the_narrowest_are_drawn_as_a_tenth_of_a_pixel():
    # At the corner, where rounding is worst: within a pixel's centre it has its colour, half a pixel away it has none.
    spot = [63.5 / 64, 63.5 / 64, 1e6, 1e6, 0.3, 1, 1, 1]
    picture = render(torch.tensor([[spot]]))[0, 0]

    assert picture[63, 63].item() == pytest.approx(1.0, abs=0.01)
    assert picture.sum().item() == pytest.approx(1.0, abs=0.01)


def test_far_from_everything_is_black():
    gaussians = torch.tensor([[[0.0, 0.0, 5.0, 5.0, 0.0, 1.0, 1.0, 1.0]]])

    assert render(gaussians)[0, :, -1, -1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.skipif(not FITS.is_dir(), reason=f"needs {FITS}")
def test_real_fits_have_the_psnr_that_stands_beside_them():
    for fit in json.loads((FITS / "index.json").read_text())["fits"]:
        gaussians = torch.from_numpy(np.load(FITS / f"{fit['id']}.npz")["gaussians"])[None]
        image = torch.from_numpy(np.array(Image.open(FITS / f"{fit['id']}.png").convert("RGB"))).permute(2, 0, 1) / 255
        error = (render(gaussians).clamp(0, 1)[0] - image).square().mean()
        assert -10 * math.log10(error.item()) == pytest.approx(fit["psnr"], abs=0.06)

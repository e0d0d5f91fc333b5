"""Photometric and census loss: exact numbers, masks, half precision, and that the true flow is the best one."""

import math

import pytest
import torch

from recipes.parts.flow.photometric_losses import census, photometric
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.warping import warp

EVERYWHERE = torch.ones(1, 1, 8, 8, dtype=torch.bool)


def grey(value):
    return torch.full((1, 3, 8, 8), value)


def test_two_plain_pictures_differ_by_what_the_formula_says():
    # SSIM of constants a, b is (2 a b + c) / (a^2 + b^2 + c) with c = 0.01^2: the variances are 0 in both.
    structure = 1 - (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)

    assert photometric(grey(0.4), grey(0.6), EVERYWHERE, alpha_ssim=0.0).item() == pytest.approx(0.2)
    assert photometric(grey(0.4), grey(0.6), EVERYWHERE, alpha_ssim=1.0).item() == pytest.approx(
        structure / 2, rel=1e-3
    )
    mixed = 0.85 * structure / 2 + 0.15 * 0.2
    assert photometric(grey(0.4), grey(0.6), EVERYWHERE).item() == pytest.approx(mixed, rel=1e-3)


def test_equal_pictures_cost_nothing():
    image = torch.rand(1, 3, 8, 8)
    assert photometric(image, image, EVERYWHERE).item() == pytest.approx(0, abs=1e-5)
    assert census(image, image, EVERYWHERE).item() == 0


def test_census_counts_neighbours_that_compare_otherwise():
    # One white pixel on black: for its 8 neighbours one comparison of 9 differs, for itself 8 of 9 do.
    first, second = grey(0.0), grey(0.0)
    second[..., 4, 4] = 1.0

    # Where -1 (or 1) stands against 0: e is nearly 1, and e^2 / (0.1 + e^2) = 0.909; over the 6 x 6 inner pixels.
    expected = (8 * 1 / 9 + 8 / 9) * 0.909 / 36
    assert census(first, second, EVERYWHERE, radius=1).item() == pytest.approx(expected, rel=1e-3)


def test_light_moves_the_photometric_loss_and_not_the_census():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 8, 8)
    brighter = 0.7 * image + 0.2

    other = torch.rand(1, 3, 8, 8)
    assert census(image, brighter, EVERYWHERE) < 0.01 * census(image, other, EVERYWHERE)
    assert photometric(image, brighter, EVERYWHERE) > 0.05 * photometric(image, other, EVERYWHERE)


def test_only_the_mask_counts():
    first, second = grey(0.5), grey(0.5)
    second[..., 0:2] = 0.9
    left = EVERYWHERE.clone()
    left[..., 3:] = False

    assert photometric(first, second, left, alpha_ssim=0.0).item() == pytest.approx(0.4 * 2 / 3)
    assert photometric(first, second, ~left, alpha_ssim=0.0).item() == 0
    assert census(first, second, ~left & (torch.arange(8) > 4), radius=1).item() == 0


@pytest.mark.parametrize("loss", [photometric, census])
def test_an_empty_mask_gives_zero_with_a_gradient_of_zero(loss):
    warped = torch.rand(1, 3, 8, 8, requires_grad=True)

    value = loss(torch.rand(1, 3, 8, 8), warped, ~EVERYWHERE)
    value.backward()

    assert value.item() == 0 and warped.grad.abs().sum() == 0


@pytest.mark.parametrize("loss", [photometric, census])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_worked_on_in_thirty_two(loss, dtype):
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 3, 8, 8, dtype=dtype)
    full = loss(first.float(), second.float(), EVERYWHERE)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(first, second.clone().requires_grad_(), EVERYWHERE)

    assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=1e-5)
    half.backward()


@pytest.mark.parametrize("loss", [photometric, census])
def test_the_true_flow_of_a_cartoon_costs_less_than_any_shift_of_it(loss):
    data = ProceduralCartoons(8, size=(48, 64), fixed=True)
    clips = [data[index] for index in range(8)]
    first, second = (torch.stack([clip["frames"][time] for clip in clips]) for time in (0, 1))
    flow, visible = (torch.stack([clip[name][0] for clip in clips]) for name in ("flow", "visible"))

    def cost(shift):
        return loss(first, warp(second, flow + shift, border=True), visible).item()

    for angle in range(4):
        direction = torch.tensor([math.cos(math.pi * angle / 2), math.sin(math.pi * angle / 2)]).view(1, 2, 1, 1)
        assert cost(0.0) < cost(direction) < cost(3 * direction)


def test_what_a_user_can_get_wrong_is_named():
    with pytest.raises(ValueError, match="alpha_ssim is 2"):
        photometric(grey(0.0), grey(0.0), EVERYWHERE, alpha_ssim=2)
    with pytest.raises(ValueError, match="radius is 0 px"):
        census(grey(0.0), grey(0.0), EVERYWHERE, radius=0)
    for loss in (photometric, census):
        with pytest.raises(ValueError, match=r"wanted twice \[B,3,H,W\], and bool"):
            loss(grey(0.0), grey(0.0), EVERYWHERE.float())

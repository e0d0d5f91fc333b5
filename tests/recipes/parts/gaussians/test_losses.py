"""Losses by hand: groups count alike, divergence in nats, free bits, pictures."""

import math

import pytest
import torch

from recipes.parts.gaussians.form import FORMS
from recipes.parts.gaussians.losses import code_divergence, group_errors, picture_errors, unit_divergence


def test_each_group_is_the_sum_over_its_columns_by_their_number():
    # An error of 2 in every column: 4 in every group, of one column or three.
    truth = torch.zeros(3, 5, 8)
    errors = group_errors(truth + 2, truth, torch.ones_like(truth), FORMS["stored"].groups)

    assert {name: error.item() for name, error in errors.items()} == dict.fromkeys(
        ("xy", "scale", "rotation", "colour"), 4.0
    )


def test_what_does_not_count_does_not_matter():
    truth, weights = torch.zeros(1, 4, 1), torch.tensor([[[1.0], [3.0], [0.0], [0.0]]])
    guess = torch.tensor([[[2.0], [4.0], [math.inf], [9.0]]]).nan_to_num(posinf=1e6)

    assert group_errors(guess, truth, weights, {"xy": slice(0, 1)})["xy"].item() == (4 + 3 * 16) / 4
    assert group_errors(guess, truth, weights * 0, {"xy": slice(0, 1)})["xy"].item() == 0.0


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    code = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).mean(0)

    assert torch.allclose(unit_divergence(mean, log_variance), expected, atol=1e-5)
    assert code_divergence(mean, log_variance).item() == pytest.approx(expected.mean().item())


def test_free_bits_are_free_for_each_unit_and_have_no_gradient():
    # Units of 0.125 and 2 nats: with half a nat free, the first is charged for 0.5 and moves nothing.
    mean = torch.tensor([[0.5, 2.0]], requires_grad=True)
    charged = code_divergence(mean, torch.zeros(1, 2), free_bits=0.5)
    charged.backward()

    assert charged.item() == pytest.approx((0.5 + 2.0) / 2)
    assert mean.grad.tolist() == [[0.0, 1.0]]


def test_equal_pictures_have_no_error_and_others_do():
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 16, 16)
    same, other = picture_errors(picture, picture), picture_errors(picture + 0.25, picture)

    assert {name: value.item() for name, value in same.items()} == pytest.approx(dict.fromkeys(same, 0.0), abs=1e-6)
    assert other["render_l1"].item() == pytest.approx(0.25)
    assert 0.0 < other["render_ssim"].item() < 0.5

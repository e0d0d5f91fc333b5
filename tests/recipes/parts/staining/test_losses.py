"""Loss terms by hand; what a blank channel, masked pixels and empty batches do to them."""

import math

import pytest
import torch

from recipes.parts.staining.losses import (
    TERMS,
    boundary,
    channel_spread,
    focal,
    mean_absolute,
    mean_square,
    spread,
    structure,
    variance_exponential,
    variance_square,
)
from recipes.parts.staining.virtual_staining import Staining

ALL = {**TERMS, "focal": lambda found: focal(found, positive=0.25)}


def found(markers, truth, weights=None, valid=None):
    batch, channels, height, width = truth.shape
    return Staining(
        markers,
        truth,
        torch.ones(batch, 1, height, width, dtype=torch.bool) if valid is None else valid,
        torch.ones(channels) if weights is None else torch.tensor(weights),
    )


def stripes(low=0.0, high=1.0, channels=1):
    """Columns that are low and high by turns: deviation (high - low) / 2."""
    row = torch.tensor([low, high]).repeat(8)
    return row.expand(2, channels, 16, 16).clone()


def test_errors_are_means_by_weight():
    truth = stripes(channels=2)
    guess = truth.clone()
    guess[:, 0] += 0.1
    guess[:, 1] += 0.5

    assert mean_absolute(found(guess, truth)).item() == pytest.approx(0.3)
    assert mean_absolute(found(guess, truth, [3.0, 1.0])).item() == pytest.approx(0.2)
    assert mean_square(found(guess, truth, [1.0, 0.0])).item() == pytest.approx(0.01)


def test_an_edge_counts_and_a_plain_does_not():
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 8:] = 1.0  # an edge between columns 7 and 8
    on_the_edge, on_the_plain = truth.clone(), truth.clone()
    on_the_edge[..., 7] += 0.2
    on_the_plain[..., 2] += 0.2

    assert boundary(found(on_the_edge, truth)).item() == pytest.approx(0.1)  # one of the two columns
    assert boundary(found(on_the_plain, truth)).item() == 0.0


def test_structure_is_nought_for_the_truth_and_high_for_its_opposite():
    truth = stripes()

    assert structure(found(truth, truth)).item() == pytest.approx(0.0, abs=1e-5)
    assert structure(found(1 - truth, truth)).item() > 1.0  # correlated negatively


def test_the_floor_is_relative_to_the_truth():
    truth = stripes(0.2, 0.6)
    half = stripes(0.3, 0.5)

    assert channel_spread(truth, torch.ones(2, 1, 16, 16, dtype=torch.bool)).item() == pytest.approx(0.2, rel=1e-4)
    assert spread(found(half, truth)).item() == pytest.approx(0.5, abs=1e-3)
    assert spread(found(stripes(0.0, 0.9), truth)).item() == 0.0  # more is no matter of this term
    assert spread(found(half / 5, truth / 5)).item() == pytest.approx(0.5, abs=1e-3)  # of a dim marker as of a bright


def test_the_floor_does_not_count_channels_in_which_there_is_nothing():
    truth = stripes(0.2, 0.21)

    assert spread(found(torch.zeros_like(truth), truth)).item() == 0.0


def test_the_floor_pulls_as_hard_where_a_prediction_is_nearly_flat():
    """The squared penalty pulls a hundred times less; the exponential one pulls a right prediction of a rare marker."""
    truth, slopes = stripes(0.0, 0.4), {}
    for term in (spread, variance_square, variance_exponential):
        markers = stripes(0.30, 0.32).requires_grad_()
        term(found(markers, truth)).backward()
        slopes[term.__name__] = markers.grad.abs().sum().item()

    assert slopes["spread"] > 100 * slopes["variance_square"] > 0
    rare = torch.zeros(2, 1, 16, 16)
    rare[0, 0, 4, 4] = 1.0
    assert variance_exponential(found(rare, rare)).item() > 0.8
    assert spread(found(rare, rare)).item() == pytest.approx(0.0, abs=1e-3)


def test_the_two_penalties_of_variance_by_hand():
    flat, varied = torch.full((2, 1, 16, 16), 0.3), stripes(0.4, 0.6)  # variances 0 and 0.01

    assert variance_exponential(found(flat, flat)).item() == pytest.approx(1.0, abs=1e-5)
    assert variance_exponential(found(varied, varied)).item() == pytest.approx(math.exp(-1), rel=1e-3)
    assert variance_square(found(flat, flat)).item() == pytest.approx(1e-4, rel=1e-3)
    assert variance_square(found(varied, varied)).item() == pytest.approx(0.0, abs=1e-9)


def test_the_focal_term_wants_a_positive_pixel_at_one_whatever_its_strength():
    truth = torch.full((1, 1, 16, 16), 0.5)

    assert focal(found(truth, truth), positive=0.25) > focal(found(truth + 0.4, truth), positive=0.25)


@pytest.mark.parametrize("name", ALL)
def test_blank_channels_are_not_seen(name):
    truth, guess = torch.rand(2, 2, 16, 16), torch.rand(2, 2, 16, 16)
    other = guess.clone()
    other[:, 1] = torch.nan
    weights = [1.0, 0.0]

    assert ALL[name](found(guess, truth, weights)).item() == pytest.approx(
        ALL[name](found(other, truth, weights)).item()
    )


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"ssim"}))
def test_pixels_that_are_not_valid_are_not_seen(name):
    truth, guess = torch.rand(2, 2, 16, 16), torch.rand(2, 2, 16, 16)
    valid = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    valid[..., 8:] = False
    other = guess.clone()
    other[..., 8:] = 0.9

    assert ALL[name](found(guess, truth, valid=valid)).item() == pytest.approx(
        ALL[name](found(other, truth, valid=valid)).item()
    )


@pytest.mark.parametrize("name", ALL)
def test_nothing_valid_gives_a_number_and_a_gradient_that_is_one(name):
    markers = torch.rand(1, 2, 16, 16).requires_grad_()
    term = ALL[name](found(markers, torch.rand(1, 2, 16, 16), valid=torch.zeros(1, 1, 16, 16, dtype=torch.bool)))
    term.backward()

    assert term.isfinite() and markers.grad.isfinite().all()

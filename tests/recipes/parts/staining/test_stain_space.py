"""Beer-Lambert: densities add up where light is multiplied."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.parts.staining.stain_space import (
    EOSIN,
    HEMATOXYLIN,
    optical_density,
    stain_densities,
    stain_matrix,
    stained,
)


def test_the_stains_are_those_of_the_paper():
    matrix = stain_matrix()

    assert torch.allclose(matrix[0], torch.tensor(HEMATOXYLIN), atol=2e-3)
    assert torch.allclose(matrix[1] * torch.tensor(EOSIN).norm(), torch.tensor(EOSIN), atol=1e-6)
    assert matrix[2] @ matrix[0] == pytest.approx(0, abs=1e-6)
    assert matrix[2] @ matrix[1] == pytest.approx(0, abs=1e-6)


def test_twice_the_stain_lets_the_square_of_the_light_through():
    densities = torch.tensor([0.4, 0.3, 0.0]).view(1, 3, 1, 1)
    once, twice = (stained(times * densities, stain_matrix()) for times in (1, 2))

    assert torch.allclose(twice, once.square())
    assert torch.equal(stained(torch.zeros(1, 3, 1, 1), stain_matrix()), torch.ones(1, 3, 1, 1))


@given(st.floats(0, 1), st.floats(0, 1))
def test_densities_are_found_again(hematoxylin, eosin):
    densities = torch.tensor([hematoxylin, eosin, 0.0]).view(1, 3, 1, 1)
    found = stain_densities(stained(densities, stain_matrix()), stain_matrix())

    assert torch.allclose(found, densities, atol=1e-4)


def test_black_has_a_density_that_is_finite():
    assert optical_density(torch.zeros(1)).item() == pytest.approx(5.5413, abs=1e-4)

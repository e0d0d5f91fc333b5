"""Procedural sets of Gaussians: they repeat, differ, are fast and look like their pictures."""

import time

import pytest
import torch

from recipes.parts.gaussians.procedural_gaussians import ProceduralGaussians
from recipes.parts.gaussians.procedural_pictures import draw_pictures
from recipes.parts.gaussians.render import render


def test_pictures_are_in_range_and_differ():
    pictures = draw_pictures(32, generator=torch.Generator().manual_seed(0))

    assert pictures.shape == (32, 3, 64, 64)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert pictures.std(0).mean() > 0.2
    assert pictures.flatten(1).std(1).min() > 0.02


def test_a_sample_depends_on_seed_and_index_alone():
    first, again = ProceduralGaussians(130, gaussians=64), ProceduralGaussians(70, gaussians=64)
    torch.manual_seed(1)
    sample = first[65]["gaussians"]
    torch.manual_seed(2)

    assert torch.equal(sample, again[65]["gaussians"])
    assert not torch.equal(sample, first[1]["gaussians"])
    assert not torch.equal(sample, ProceduralGaussians(130, gaussians=64, seed=1)[65]["gaussians"])
    assert sample.shape == (64, 8) and sample.dtype == torch.float32 and sample.isfinite().all()


def test_it_takes_no_random_numbers():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    ProceduralGaussians(4, gaussians=64)[0]

    assert torch.equal(torch.get_rng_state(), state)


def test_gaussians_belong_to_their_pictures():
    data = ProceduralGaussians(80)
    gaussians = torch.stack([data[index]["gaussians"] for index in (64, 70, 79)])
    pictures = data.pictures(1)[[0, 6, 15]]

    error = (render(gaussians).clamp(0, 1) - pictures).square().mean((1, 2, 3))
    assert (-10 * error.log10() > 27).all()


def test_a_sample_takes_some_milliseconds():
    data = ProceduralGaussians(64)
    start = time.process_time()
    data[0]

    assert (time.process_time() - start) / 64 < 0.04  # measured: 0.004


def test_an_index_beyond_the_end_is_told():
    with pytest.raises(IndexError, match="sample 4 of 4"):
        ProceduralGaussians(4)[4]

"""Augmented Gaussians render as the augmented picture."""

import math

import pytest
import torch

from recipes.parts.gaussians.augmentation import GaussianAugmentation, mirror
from recipes.parts.gaussians.procedural_gaussians import ProceduralGaussians
from recipes.parts.gaussians.render import render

DATA = ProceduralGaussians(4, gaussians=128)
GAUSSIANS = torch.stack([DATA[index]["gaussians"] for index in range(4)])
YES, NO = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_mirrored_set_is_the_mirrored_picture(across, down, diagonal):
    mirrored = mirror(GAUSSIANS, *(YES if chosen else NO for chosen in (across, down, diagonal)))
    expected = render(GAUSSIANS, size=32)
    expected = expected.flip(-1) if across else expected
    expected = expected.flip(-2) if down else expected
    expected = expected.transpose(-1, -2) if diagonal else expected

    assert torch.allclose(render(mirrored, size=32), expected, atol=2e-3)
    assert (mirrored[..., 4].abs() <= math.pi / 4 + 1e-5).all()


def test_each_set_is_mirrored_by_itself():
    some = torch.tensor([True, False, False, True])
    mirrored = mirror(GAUSSIANS, some, NO, NO)

    assert torch.equal(mirrored[1:3], GAUSSIANS[1:3])
    assert torch.equal(mirrored[0, :, 0], 1 - GAUSSIANS[0, :, 0])


def test_colours_are_exchanged_and_moved_alike_in_a_set():
    torch.manual_seed(0)
    batch = GaussianAugmentation(turn=False, jitter=0.0)({"gaussians": GAUSSIANS, "other": 3})
    found = batch["gaussians"]

    assert batch["other"] == 3
    assert torch.equal(found[..., :5], GAUSSIANS[..., :5])
    assert torch.equal(found[..., 5:].sort(-1).values, GAUSSIANS[..., 5:].sort(-1).values)
    assert not torch.equal(found, GAUSSIANS)

    moved = GaussianAugmentation(turn=False, exchange_colours=False, jitter=0.2)({"gaussians": GAUSSIANS})["gaussians"]
    slope = (moved[..., 5:].amax(1) - moved[..., 5:].amin(1)) / (
        GAUSSIANS[..., 5:].amax(1) - GAUSSIANS[..., 5:].amin(1)
    )
    assert torch.allclose(slope, slope[:, :1].expand(-1, 3), atol=1e-3)  # one contrast for the three
    assert ((slope > 0.79) & (slope < 1.21)).all()


def test_it_leaves_its_input_alone_and_repeats_by_the_generator():
    augmentation, kept = GaussianAugmentation(), GAUSSIANS.clone()
    torch.manual_seed(1)
    first = augmentation({"gaussians": GAUSSIANS})["gaussians"]
    torch.manual_seed(1)

    assert torch.equal(augmentation({"gaussians": GAUSSIANS})["gaussians"], first)
    assert torch.equal(GAUSSIANS, kept) and not torch.equal(first, kept)
    nothing = GaussianAugmentation(turn=False, exchange_colours=False, jitter=0.0)
    assert torch.equal(nothing({"gaussians": GAUSSIANS})["gaussians"], kept)


def test_a_jitter_beyond_its_range_is_refused():
    with pytest.raises(ValueError, match=r"jitter is 1; it must be in \[0, 1\)"):
        GaussianAugmentation(jitter=1)

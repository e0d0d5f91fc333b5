"""What moves in the picture moves in the markers; stains change in the picture alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.staining.augmentation import StainAugmentation, StainJitter
from recipes.parts.staining.stain_space import stain_densities, stain_matrix, stained


def batch(size=32, count=4):
    he = torch.rand(count, 3, size, size)
    valid = torch.ones(count, 1, size, size, dtype=torch.bool)
    return {"he": he, "target": 1000 * torch.cat([he, he.mean(1, keepdim=True)], 1), "valid": valid, "other": 7}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
def test_picture_and_markers_stay_together(seed, turn, elastic):
    torch.manual_seed(seed)
    given = batch()
    result = StainAugmentation(32, turn=turn, elastic=elastic, jitter=0.0)(given)

    assert torch.allclose(1000 * result["he"], result["target"][:, :3], atol=0.1)
    assert torch.allclose(1000 * result["he"].mean(1), result["target"][:, 3], atol=0.1)
    assert result["other"] == 7


def test_turns_are_all_eight_and_lose_nothing():
    torch.manual_seed(0)
    given = batch(size=8, count=200)
    for name in ("he", "target"):
        given[name] = given[name][:1].expand(200, -1, -1, -1).contiguous()
    result = StainAugmentation(8, elastic=0.0, jitter=0.0)(given)

    assert result["valid"].all()
    assert len({tuple((10 * row).round().int().flatten().tolist()) for row in result["he"][:, 0]}) == 8
    assert torch.allclose(result["he"].mean((2, 3)), given["he"].mean((2, 3)), atol=1e-4)


def test_what_comes_from_beyond_the_border_is_not_valid():
    torch.manual_seed(0)
    given = batch(size=64, count=8)
    given["he"], given["target"] = torch.ones(8, 3, 64, 64), torch.ones(8, 4, 64, 64)
    result = StainAugmentation(64, turn=False, elastic=1.0, bend=2.0, jitter=0.0)(given)

    assert 0.9 < result["valid"].float().mean() < 1
    assert result["target"][result["valid"].expand(-1, 4, -1, -1)].min() > 0.98
    assert result["valid"][..., 16:-16, 16:-16].all()


def test_pixels_move_as_far_as_is_said():
    torch.manual_seed(0)
    given = batch(size=64, count=32)
    columns = torch.arange(64.0).expand(32, 4, 64, 64)
    given["target"] = columns.clone()
    result = StainAugmentation(64, turn=False, elastic=1.0, bend=1.5, jitter=0.0)(given)
    moved = (result["target"] - columns)[..., 20:-20, 20:-20]

    assert moved.std().item() == pytest.approx(1.5, rel=0.15)


def test_stains_change_in_the_picture_alone():
    torch.manual_seed(0)
    given = batch()
    result = StainAugmentation(32, turn=False, elastic=0.0, jitter=0.3)(given)

    assert torch.equal(result["target"], given["target"])
    assert (result["he"] - given["he"]).abs().mean() > 0.01
    assert result["he"].min() >= 0 and result["he"].max() <= 1


def test_the_jitter_multiplies_densities_and_leaves_white_white():
    torch.manual_seed(0)
    densities = torch.rand(3, 3, 4, 4) * torch.tensor([0.8, 0.8, 0.0]).view(3, 1, 1)
    changed = stain_densities(StainJitter(0.2)(stained(densities, stain_matrix())), stain_matrix())
    factors = (changed / densities)[:, :2]

    assert torch.allclose(factors, factors[..., :1, :1].expand_as(factors), atol=5e-3)  # one for each stain of a sample
    assert factors.min() >= 0.8 and factors.max() <= 1.21
    assert torch.equal(StainJitter(0.2)(torch.ones(1, 3, 4, 4)), torch.ones(1, 3, 4, 4))


def test_nothing_to_do_changes_nothing():
    given = batch()

    assert StainAugmentation(32, turn=False, elastic=0.0, jitter=0.0)(given) is given


def test_a_jitter_of_one_is_told():
    with pytest.raises(ValueError, match=r"jitter is 1.0; it must be in \[0, 1\)"):
        StainJitter(1.0)

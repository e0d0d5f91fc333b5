"""Procedural pairs: the truth is exact, samples repeat, the domains differ."""

import time

import pytest
import torch
from torch.nn import functional as F

from recipes.parts.stereo.procedural_stereo import ProceduralStereo
from recipes.parts.warping import warp_disparity

SIZE = (96, 160)


def make_set(domain="clean", **settings):
    return ProceduralStereo(
        **{"count": 24, "size": SIZE, "max_disparity": 48.0, "fixed": True, **settings}, domain=domain
    )


def stack(data):
    samples = [data[index] for index in range(len(data))]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def warp_error(batch):
    """Mean over the colours of |right at x - d minus left|, [B,1,H,W]."""
    return (warp_disparity(batch["right"], batch["disparity"]) - batch["left"]).abs().mean(1, keepdim=True)


def test_a_sample_follows_the_batch_contract():
    for domain in ("clean", "noisy"):
        sample = make_set(domain)[0]
        for name in ("left", "right"):
            assert sample[name].shape == (3, *SIZE) and sample[name].dtype == torch.float32
            assert sample[name].min() >= 0 and sample[name].max() <= 1
        for name in ("disparity", "valid", "visible"):
            assert sample[name].shape == (1, *SIZE)
        assert sample["valid"].dtype == sample["visible"].dtype == torch.bool
        assert sample["focal_baseline"].shape == () and sample["focal_baseline"].dtype == torch.float32
        assert sample["focal_baseline"] > 0
        assert not (sample["visible"] & ~sample["valid"]).any()
        assert torch.equal(sample["disparity"] > 0, sample["valid"])


def test_the_right_image_at_x_minus_d_is_the_left_one_where_it_is_visible():
    batch = stack(make_set())
    error, visible = warp_error(batch), batch["visible"]

    # Half of the pixels agree to a thousandth; the mean has the mixed colours in it that sampling gives on edges.
    assert error[visible].median() < 0.001
    assert error[visible].mean() < 0.006
    assert error[~visible].mean() > 20 * error[visible].mean()
    wrong = {**batch, "disparity": batch["disparity"] + 0.5}
    assert warp_error(wrong)[visible].median() > 5 * error[visible].median()  # half a pixel off is seen


def test_what_is_not_visible_is_out_of_the_right_image_or_behind_something_nearer():
    batch = stack(make_set())
    disparity, visible = batch["disparity"], batch["visible"]
    place = torch.arange(SIZE[1]) - disparity

    assert not visible[place < 0].any()
    hidden = ~visible & (place >= 0)
    right = place.round().clamp_min(0).long()
    nearest = torch.zeros_like(disparity)  # by splatting: the largest disparity that falls on each right pixel
    nearest.scatter_reduce_(3, right, disparity, reduce="amax")
    near_by = F.max_pool2d(nearest, (1, 3), 1, (0, 1))  # a slanted sheet is stretched there, and leaves gaps
    assert 0.01 < hidden.float().mean() < 0.2
    assert (near_by.gather(3, right) > disparity + 0.4)[hidden].float().mean() > 0.85
    # (the rest is hidden by what the left image does not show: it is behind something there, or beyond the border)
    assert (nearest.gather(3, right) > disparity + 0.6)[visible].float().mean() < 0.02


def test_the_right_view_has_a_truth_too():
    batch = stack(make_set())
    mirrored = {
        "left": batch["right"].flip(-1),
        "right": batch["left"].flip(-1),
        "disparity": batch["disparity_right"].flip(-1),
    }

    assert warp_error(mirrored)[batch["visible_right"].flip(-1)].median() < 0.001


def test_disparities_keep_the_range_and_fill_it():
    disparity = stack(make_set(count=60))["disparity"]

    assert disparity.min() >= 0.5 and disparity.max() <= 48
    assert disparity.min() < 3 and disparity.max() > 40


def test_a_fixed_sample_depends_on_seed_and_index_alone():
    first, again = make_set(), make_set()
    torch.manual_seed(1)
    sample = first[3]
    torch.manual_seed(2)

    assert all(torch.equal(sample[name], again[3][name]) for name in sample)
    assert not torch.equal(sample["left"], first[4]["left"])
    assert not torch.equal(sample["left"], make_set(seed=1)[3]["left"])


def test_a_training_sample_depends_on_the_global_generator_alone():
    data = make_set(fixed=False)
    torch.manual_seed(5)
    sample = data[0]
    other = data[0]
    torch.manual_seed(5)

    assert torch.equal(sample["left"], data[7]["left"])
    assert not torch.equal(sample["left"], other["left"])


def test_the_noisy_domain_has_holes_noise_and_other_statistics():
    clean, noisy = stack(make_set(count=40)), stack(make_set("noisy", count=40))

    assert clean["valid"].all() and 0.85 < noisy["valid"].float().mean() < 0.99
    assert (noisy["disparity"][~noisy["valid"]] == 0).all()
    assert noisy["disparity"][noisy["valid"]].mean() < 0.85 * clean["disparity"].mean()
    assert noisy["left"].mean() < 0.85 * clean["left"].mean()
    gain = noisy["left"].mean((1, 2, 3)) / noisy["right"].mean((1, 2, 3))
    assert gain.log().std() > 2 * (clean["left"].mean((1, 2, 3)) / clean["right"].mean((1, 2, 3))).log().std()
    assert warp_error(noisy)[noisy["visible"]].median() > 0.01


def test_a_sample_takes_a_few_milliseconds():
    data = make_set()
    data[0]  # the bank of textures is made once
    start = time.process_time()
    for index in range(20):
        data[index]

    assert (time.process_time() - start) / 20 < 0.06  # measured: 0.005


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="domain is 'dirty'; it must be 'clean' or 'noisy'"):
        make_set("dirty")
    with pytest.raises(ValueError, match="max_disparity is 2"):
        make_set(max_disparity=2)
    with pytest.raises(IndexError, match="sample 24 of 24"):
        make_set()[24]

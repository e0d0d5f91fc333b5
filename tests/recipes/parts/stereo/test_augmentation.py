"""Whatever the augmentation does, warping the right image by the disparity must still give the left one."""

import pytest
import torch

from recipes.parts.stereo.augmentation import StereoAugmentation
from recipes.parts.warping import warp_disparity

OFF = {
    "jitter": 0.0,
    "gamma": 0.0,
    "asymmetric_jitter": 0.0,
    "vertical_flip": 0.0,
    "swap": 0.0,
    "erase": 0.0,
}


def make_batch(size=6, height=32, width=64):
    """A bar before a wall, in whole pixels, so that warping is exact; and each eye's own truth."""
    left = torch.zeros(size, 3, height, width)
    right = torch.zeros_like(left)
    truth, truth_right = torch.zeros(size, 1, height, width), torch.zeros(size, 1, height, width)
    texture = torch.rand(size, 3, height, width + 20)  # the wall, in coordinates of the right view
    wall, near = 3, 8
    right[:] = texture[..., :width]
    left[..., wall:] = texture[..., : width - wall]
    left[..., :wall] = torch.rand(size, 3, height, wall)
    truth[:], truth_right[:] = wall, wall
    bar = torch.rand(size, 3, height, 12)
    left[..., 30:42], truth[..., 30:42] = bar, near
    right[..., 30 - near : 42 - near], truth_right[..., 30 - near : 42 - near] = bar, near
    columns = torch.arange(width)
    # The wall is hidden from the right eye where its match lies behind the bar.
    visible = (truth == near) | ((columns - wall < 30 - near) | (columns - wall >= 42 - near)) & (columns >= wall)
    return {
        "left": left,
        "right": right,
        "disparity": truth,
        "valid": torch.ones_like(truth, dtype=torch.bool),
        "visible": visible.expand_as(truth).clone(),
        "focal_baseline": torch.full((size,), 50.0),
        "truth_right": truth_right,
    }


def photometric_error(batch):
    seen = batch["valid"] & batch["visible"]
    warped = warp_disparity(batch["right"], batch["disparity"])
    return (warped - batch["left"]).abs()[seen.expand_as(warped)].max().item()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"vertical_flip": 1.0},
        {"swap": 1.0},
        {"swap": 0.5, "vertical_flip": 0.5},
        {"crop": (16, 40)},
        {"erase": 1.0},
        {"jitter": 0.4},
        {"gamma": 0.3},
        {"crop": (16, 48), "swap": 0.5, "vertical_flip": 0.5, "jitter": 0.3, "gamma": 0.2, "erase": 1.0},
    ],
    ids=lambda change: "+".join(change) or "nothing",
)
@pytest.mark.parametrize("seed", range(3))
def test_the_disparity_is_exact_after(change, seed):
    torch.manual_seed(seed)
    batch = make_batch()
    before = {name: value.clone() for name, value in batch.items()}

    after = StereoAugmentation(**{**OFF, **change})(batch)

    assert photometric_error(after) < 1e-4
    assert all(torch.equal(batch[name], before[name]) for name in batch)  # the batch that came in is untouched
    assert (after["valid"] & after["visible"]).float().mean() > 0.4
    assert all(after[name].dtype == before[name].dtype for name in after)
    assert after["left"].min() >= 0 and after["left"].max() <= 1
    assert torch.equal(after["focal_baseline"], before["focal_baseline"])


def test_a_swap_shows_the_flipped_right_view_and_its_truth():
    torch.manual_seed(0)
    batch = make_batch()

    after = StereoAugmentation(**{**OFF, "swap": 1.0})(batch)

    assert torch.equal(after["left"], batch["right"].flip(-1)) and torch.equal(after["right"], batch["left"].flip(-1))
    valid = after["valid"]
    assert torch.equal(after["disparity"][valid], batch["truth_right"].flip(-1)[valid])
    assert after["disparity"][~valid].abs().sum() == 0
    # What only the right eye sees is unknown: the wall beside the bar, 5 px, and what lies left of the left image.
    assert valid.sum(dim=-1).unique().tolist() == [64 - 3 - 5]


def test_the_batchs_own_right_view_is_used_and_left_out_afterwards():
    torch.manual_seed(0)
    batch = make_batch()
    batch["disparity_right"] = batch["truth_right"]

    after = StereoAugmentation(**{**OFF, "swap": 1.0})(batch)

    assert torch.equal(after["disparity"], batch["truth_right"].flip(-1)) and after["valid"].all()
    assert "disparity_right" not in after and "disparity_right" in batch
    assert "disparity_right" not in StereoAugmentation(**OFF)(batch)


def test_swapping_twice_gives_the_images_back():
    torch.manual_seed(0)
    batch, swap = make_batch(), StereoAugmentation(**{**OFF, "swap": 1.0})

    twice = swap(swap(batch))

    assert torch.equal(twice["left"], batch["left"])
    assert torch.equal(twice["disparity"][twice["valid"]], batch["disparity"][twice["valid"]])


def test_about_half_of_the_samples_are_changed_at_a_chance_of_a_half():
    torch.manual_seed(0)
    batch = make_batch(size=64, height=4)

    after = StereoAugmentation(**{**OFF, "vertical_flip": 0.5})(batch)
    flipped = [torch.equal(a, b.flip(-2)) for a, b in zip(after["left"], batch["left"])]
    kept = [torch.equal(a, b) for a, b in zip(after["left"], batch["left"])]

    assert 20 <= sum(flipped) <= 44 and sum(flipped) + sum(kept) == 64


def test_a_crop_that_cuts_off_the_match_makes_the_pixel_invisible():
    torch.manual_seed(0)

    after = StereoAugmentation(**{**OFF, "crop": (8, 32)})(make_batch())

    columns = torch.arange(32)
    assert after["left"].shape == (6, 3, 8, 32)
    assert not (after["visible"] & (columns < after["disparity"])).any() and after["valid"].all()


def test_an_erased_patch_has_the_mean_colour_and_its_matches_are_invisible_but_valid():
    torch.manual_seed(0)
    batch = make_batch()

    after = StereoAugmentation(**{**OFF, "erase": 1.0})(batch)

    changed = (after["right"] != batch["right"]).any(1)
    assert torch.equal(after["left"], batch["left"]) and torch.equal(after["valid"], batch["valid"])
    for sample in range(6):
        share = changed[sample].float().mean().item()
        assert 0.005 < share < 0.12
        mean = batch["right"][sample].mean(dim=(1, 2))
        assert torch.allclose(after["right"][sample][:, changed[sample]], mean[:, None], atol=1e-6)
    assert (batch["visible"] & ~after["visible"]).flatten(1).any(1).all()


def test_both_eyes_change_alike_and_a_little_differently_with_asymmetry():
    torch.manual_seed(0)
    batch = make_batch()
    batch["right"] = batch["left"].clone()  # the same picture, so that any difference is the augmentation's

    alike = StereoAugmentation(**{**OFF, "jitter": 0.3, "gamma": 0.2})(batch)
    unlike = StereoAugmentation(**{**OFF, "jitter": 0.3, "gamma": 0.2, "asymmetric_jitter": 0.05})(batch)

    assert torch.equal(alike["left"], alike["right"])
    assert (alike["left"] - batch["left"]).abs().mean() > 0.03
    assert 0.001 < (unlike["left"] - unlike["right"]).abs().mean() < 0.05


def test_the_seed_of_torch_alone_decides():
    batch, augmentation = make_batch(), StereoAugmentation(crop=(16, 48))

    def run(seed):
        torch.manual_seed(seed)
        return augmentation(batch)

    first, second, other = run(1), run(1), run(2)

    assert all(torch.equal(first[name], second[name]) for name in ("left", "right", "disparity", "valid", "visible"))
    assert not torch.equal(first["left"], other["left"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"swap": 1.5}, "swap is 1.5; it is a chance"), ({"jitter": 1.0}, "jitter is 1.0; it must be in")],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        StereoAugmentation(**wrong)


def test_a_crop_larger_than_the_images_is_named():
    with pytest.raises(ValueError, match=r"crop \(64, 64\) px is larger than the images, \(32, 64\) px"):
        StereoAugmentation(crop=(64, 64))(make_batch())

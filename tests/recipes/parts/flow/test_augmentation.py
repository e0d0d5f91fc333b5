"""Whatever the augmentation does, warping the second frame by the flow must still give the first one."""

import pytest
import torch

from recipes.parts.flow.augmentation import FlowAugmentation
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.warping import warp

NONE = (0.0, 0.0, 0.0, 0.0)
OFF = {"jitter": NONE, "grayscale": 0.0, "horizontal_flip": 0.0, "vertical_flip": 0.0}


def make_batch(size=6, frames=2, height=48, width=64):
    data = ProceduralCartoons(size, size=(height, width), frames=frames, fixed=True)
    samples = [data[index] for index in range(size)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def photometric_error(batch):
    """Mean |second frame where the flow leads - first| over the visible pixels that count, and over those hidden."""
    first, second, flow = batch["frames"][:, 0], batch["frames"][:, 1], batch["flow"][:, 0]
    difference = (warp(second, flow, border=True) - first).abs().mean(1, keepdim=True)
    valid, visible = batch["valid"][:, 0], batch["visible"][:, 0]
    return difference[valid & visible].mean().item(), difference[valid & ~visible].mean().item()


@pytest.mark.parametrize(
    "change",
    [
        {"horizontal_flip": 1.0},
        {"vertical_flip": 1.0},
        {"horizontal_flip": 0.5, "vertical_flip": 0.5},
        {"crop": (32, 40)},
        {"scale": (1.4, 1.4)},
        {"scale": (0.7, 0.7)},
        {"grayscale": 1.0},
        {"jitter": (0.4, 0.4, 0.4, 0.15)},
        {"scale": (0.8, 1.5), "crop": (32, 48), "horizontal_flip": 0.5, "vertical_flip": 0.5, "grayscale": 0.2},
    ],
    ids=lambda change: "+".join(change),
)
@pytest.mark.parametrize("seed", range(2))
def test_the_flow_is_right_after(change, seed):
    torch.manual_seed(seed)
    batch = make_batch()
    before = {name: value.clone() for name, value in batch.items()}
    plain, _ = photometric_error(batch)

    after = FlowAugmentation(**{**OFF, **change})(batch)
    error, hidden = photometric_error(after)

    assert error < 1.6 * plain + 0.002  # strong contrast raises it, and smaller pictures have steeper lines
    assert hidden > 3 * error
    turned = {**after, "flow": -after["flow"]}
    assert photometric_error(turned)[0] > 2 * error
    assert all(torch.equal(batch[name], before[name]) for name in batch)  # the batch that came in is untouched
    assert all(after[name].dtype == before[name].dtype for name in after)
    assert after["valid"].float().mean() > 0.6
    assert torch.equal(after["visible"], ~after["occluded"]) and torch.equal(after["line"], ~after["flat"])
    assert after["frames"].min() >= 0 and after["frames"].max() <= 1 + 1e-6  # a mean of ones, rounded


def test_a_flip_negates_its_own_component_alone():
    batch = make_batch()

    mirrored = FlowAugmentation(**{**OFF, "horizontal_flip": 1.0})(batch)["flow"]
    turned_over = FlowAugmentation(**{**OFF, "vertical_flip": 1.0})(batch)["flow"]

    assert torch.equal(mirrored[:, :, 0], -batch["flow"][:, :, 0].flip(-1))
    assert torch.equal(mirrored[:, :, 1], batch["flow"][:, :, 1].flip(-1))
    assert torch.equal(turned_over[:, :, 0], batch["flow"][:, :, 0].flip(-2))
    assert torch.equal(turned_over[:, :, 1], -batch["flow"][:, :, 1].flip(-2))


def test_scaling_an_affine_flow_gives_the_flow_of_the_scaled_scene():
    x, y = torch.arange(64.0), torch.arange(48.0)[:, None]
    flow = torch.stack([0.5 + 0.02 * x - 0.01 * y, -1 + 0.03 * y + 0 * x])[None, None]
    batch = {**make_batch(1), "flow": flow}

    after = FlowAugmentation(**{**OFF, "scale": (1.5, 1.5)})(batch)

    # A point x of the large picture is at (x + 0.5) / 1.5 - 0.5 of the small one.
    x, y = ((torch.arange(float(length)) + 0.5) / 1.5 - 0.5 for length in (96, 72))
    y = y[:, None]
    expected = 1.5 * torch.stack([0.5 + 0.02 * x - 0.01 * y, -1 + 0.03 * y + 0 * x])
    assert after["flow"].shape == (1, 1, 2, 72, 96)
    assert torch.allclose(after["flow"][0, 0, :, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)


def test_where_two_motions_are_mixed_the_flow_no_longer_counts():
    batch = make_batch(1)
    batch["flow"] = torch.zeros_like(batch["flow"])
    batch["flow"][..., 32:] = 3.0

    after = FlowAugmentation(**{**OFF, "scale": (1.25, 1.25)})(batch)

    valid = after["valid"][0, 0, 0]
    assert valid[:, :38].all() and valid[:, 43:].all() and not valid[:, 39:41].any()
    assert after["flow"][0, 0, 0][valid].unique().tolist() == [0.0, 3.75]


def test_an_unknown_flow_stays_unknown_and_spoils_no_neighbour():
    batch = make_batch(1)
    batch["flow"][..., 10, 10], batch["valid"][..., 10, 10] = 1000.0, False

    after = FlowAugmentation(**{**OFF, "scale": (1.5, 1.5)})(batch)

    assert after["flow"].abs().amax(dim=2, keepdim=True)[after["valid"]].max() < 30


def test_what_is_cropped_off_is_occluded():
    torch.manual_seed(0)
    batch = make_batch()

    after = FlowAugmentation(**{**OFF, "crop": (24, 24)})(batch)

    assert after["frames"].shape == (6, 2, 3, 24, 24) and after["segments"].shape == (6, 2, 1, 24, 24)
    x = torch.arange(24) + after["flow"][:, :, :1]
    assert not (after["visible"] & ((x < 0) | (x > 23))).any()
    assert after["occluded"].float().mean() > batch["occluded"].float().mean()


def test_what_nobody_knows_stays_unknown():
    batch = make_batch()
    batch["visible"] = batch["occluded"] = torch.zeros_like(batch["visible"])

    after = FlowAugmentation(**{**OFF, "crop": (24, 24)})(batch)

    assert not after["visible"].any() and not after["occluded"].any()


def test_all_frames_of_a_clip_change_alike_and_clips_differently():
    torch.manual_seed(0)
    batch = make_batch(frames=3)
    batch["frames"] = batch["frames"][:1, :1].expand(6, 3, -1, -1, -1).clone()

    changed = FlowAugmentation(**{**OFF, "jitter": (0.4, 0.4, 0.4, 0.15)})(batch)["frames"]

    assert torch.allclose(changed[:, 0], changed[:, 1]) and torch.allclose(changed[:, 0], changed[:, 2])
    assert len({round(clip.mean().item(), 4) for clip in changed}) == 6


def test_grayscale_takes_the_colours_of_a_fifth_of_the_clips():
    torch.manual_seed(0)
    batch = make_batch(size=40, height=16, width=16)

    frames = FlowAugmentation(**{**OFF, "grayscale": 0.2})(batch)["frames"]
    grey = (frames[:, :, 0] - frames[:, :, 2]).abs().flatten(1).amax(dim=1) < 1e-6

    assert 2 <= grey.sum() <= 16


def test_the_seed_of_torch_alone_decides():
    batch, augmentation = make_batch(), FlowAugmentation(scale=(0.9, 1.2), crop=(32, 48))

    def run(seed):
        torch.manual_seed(seed)
        return augmentation(batch)

    first, second, other = run(1), run(1), run(2)

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["frames"], other["frames"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grayscale": 1.5}, "grayscale is 1.5; it is a chance"),
        ({"scale": (1.2, 0.8)}, "the smaller one first"),
        ({"scale": (0.0, 0.8)}, "two factors above 0"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        FlowAugmentation(**wrong)


def test_a_crop_larger_than_the_frames_is_named():
    with pytest.raises(ValueError, match=r"crop \(64, 64\) px is larger than the frames, \(48, 64\) px"):
        FlowAugmentation(crop=(64, 64))(make_batch())

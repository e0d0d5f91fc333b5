"""What is known and what is not, in crops of any size."""

import torch

from recipes.parts.flow.sample import FlowMaps


def make_maps(**known):
    frames = torch.randint(0, 255, (2, 3, 6, 8), dtype=torch.uint8)
    return FlowMaps(frames, **known)


def moved(u):
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0] = u
    return {"flow": flow, "valid": torch.ones(1, 1, 6, 8, dtype=torch.bool)}


def test_frames_alone_know_nothing_else():
    sample = make_maps().sample()

    assert sample["frames"].dtype == torch.float32 and sample["frames"].max() <= 1
    assert not any(sample[name].any() for name in ("valid", "visible", "occluded", "line", "flat"))
    assert (sample["segments"] == -1).all() and sample["segments"].dtype == torch.int64
    assert sample["flow"].shape == (1, 2, 6, 8)


def test_what_leads_out_is_occluded_even_where_nobody_says_what_is_seen():
    sample = make_maps(**moved(2.0)).sample()

    assert sample["occluded"][0, 0, 0].tolist() == [False] * 6 + [True] * 2
    assert not sample["visible"].any()


def test_what_is_said_to_be_seen_is_visible_unless_the_crop_cuts_it_off():
    sample = make_maps(**moved(2.0), seen=torch.ones(1, 1, 6, 8, dtype=torch.bool)).sample((6, 4))

    assert sample["frames"].shape == (2, 3, 6, 4)
    assert sample["visible"][0, 0, 0].tolist() == [True, True, False, False]
    assert torch.equal(sample["occluded"], ~sample["visible"])


def test_frames_smaller_than_the_crop_repeat_their_border_and_know_nothing_there():
    flat = torch.ones(2, 1, 6, 8, dtype=torch.bool)
    sample = make_maps(**moved(0.0), flat=flat, segments=torch.zeros(2, 1, 6, 8, dtype=torch.int64)).sample((8, 10))

    assert sample["frames"].shape == (2, 3, 8, 10)
    assert torch.equal(sample["frames"][..., 9], sample["frames"][..., 7])
    assert sample["valid"].sum() == 48 and sample["flat"].sum() == 96
    assert (sample["segments"] == 0).sum() == 96 and (sample["segments"] == -1).sum() == 2 * 80 - 96

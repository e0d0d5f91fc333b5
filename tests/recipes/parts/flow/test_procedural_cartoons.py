"""Procedural cartoons: what moves is seen again where the flow says, and what is hidden is said to be."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.flow.cartoon_scene import draw_cartoon, look
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons, film, flow_of
from recipes.parts.warping import warp

SIZE = (48, 64)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)


def make_set(**options):
    return ProceduralCartoons(**{"count": 24, "size": SIZE, "fixed": True, **options})


def stack(data):
    samples = [data[index] for index in range(len(data))]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def test_a_clip_follows_the_batch_contract():
    clip = make_set(frames=3)[0]

    assert clip["frames"].shape == (3, 3, *SIZE) and clip["frames"].dtype == torch.float32
    assert clip["frames"].min() >= 0 and clip["frames"].max() <= 1
    assert clip["flow"].shape == (2, 2, *SIZE) and clip["flow"].dtype == torch.float32
    for name, count in (("valid", 2), ("visible", 2), ("occluded", 2), ("line", 3), ("flat", 3)):
        assert clip[name].shape == (count, 1, *SIZE) and clip[name].dtype == torch.bool
    assert clip["segments"].shape == (3, 1, *SIZE) and clip["segments"].dtype == torch.int64
    assert torch.equal(clip["visible"], ~clip["occluded"]) and torch.equal(clip["line"], ~clip["flat"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), moment=st.integers(0, 2))
def test_what_is_visible_has_the_same_colour_and_owner_where_the_flow_leads(seed, moment):
    cartoon = draw_cartoon(np.random.default_rng(seed), SIZE, max_speed=8.0)
    clip = film(cartoon, SIZE, frames=moment + 2)
    now, flow, visible = look(cartoon, X, Y, moment), clip["flow"][-1].numpy(), clip["visible"][-1, 0].numpy()

    then = look(cartoon, X + flow[0], Y + flow[1], moment + 1)  # between pixels: drawn there, not interpolated

    # Within half a pixel of an outline its soft rim lies over what is behind it, which moves otherwise.
    clear = visible & ~near_another(cartoon, X, Y, moment, now.owner)
    clear &= ~near_another(cartoon, X + flow[0], Y + flow[1], moment + 1, now.owner)

    assert clear.mean() > 0.4
    assert (then.owner == now.owner)[clear].all()
    assert np.abs(then.colour - now.colour)[:, clear].max() < 0.02  # rounding, at the steepest textures


def near_another(cartoon, x, y, moment, owner):
    depths = cartoon.depths(cartoon.coordinates(x, y, moment))
    others = np.arange(len(depths))[:, None, None] > owner
    rims = np.abs(depths) < 0.6
    return (rims & (others | (np.arange(len(depths))[:, None, None] == owner))).any(axis=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_is_occluded_is_outside_or_behind_another_layer(seed):
    cartoon = draw_cartoon(np.random.default_rng(seed), SIZE, max_speed=8.0)
    now = look(cartoon, X, Y, 0)
    flow, occluded = flow_of(cartoon, now, 0), film(cartoon, SIZE, frames=2)["occluded"][0, 0].numpy()
    x, y = X + flow[0], Y + flow[1]

    owner = look(cartoon, x, y, 1).owner

    outside = (x < 0) | (x > SIZE[1] - 1) | (y < 0) | (y > SIZE[0] - 1)
    assert (occluded == (outside | (owner > now.owner))).all()


def test_the_second_frame_warped_by_the_flow_is_the_first_outside_of_occlusions():
    clips = stack(make_set())
    first, second, flow = clips["frames"][:, 0], clips["frames"][:, 1], clips["flow"][:, 0]
    visible = clips["visible"][:, 0]

    def error(flow):
        return (warp(second, flow, border=True) - first).abs().mean(1, keepdim=True)

    right = error(flow)
    assert right[visible].median() < 0.005
    assert right[~visible].mean() > 4 * right[visible].mean()
    assert error(flow + 1.0)[visible].mean() > 2 * right[visible].mean()
    assert error(torch.zeros_like(flow))[visible].mean() > 2 * right[visible].mean()


def test_a_segment_moves_by_one_affine_map():
    clip = make_set()[3]
    segments, flow = clip["segments"][0, 0].numpy(), clip["flow"][0].numpy()
    numbers = [number for number in np.unique(segments) if (segments == number).sum() > 20]

    assert len(numbers) > 2
    for number in numbers:
        inside = segments == number
        points = np.stack([X[inside], Y[inside], np.ones(inside.sum())], axis=1)
        fit = points @ np.linalg.lstsq(points, flow[:, inside].T, rcond=None)[0]
        assert np.abs(fit.T - flow[:, inside]).max() < 1e-3


def test_segments_keep_their_numbers_from_frame_to_frame():
    clips = stack(make_set(frames=3))
    for step in range(2):
        segments, visible = clips["segments"][:, step], clips["visible"][:, step]
        there = warp(clips["segments"][:, step + 1].float(), clips["flow"][:, step]).round()
        assert (there == segments)[visible].float().mean() > 0.9  # the rest lies between two pixels of two segments


def test_lines_are_dark_and_on_the_rim_of_segments():
    clips = stack(make_set(count=48))
    line, grey = clips["line"], clips["frames"].mean(dim=2, keepdim=True)

    assert 0.03 < line.float().mean() < 0.2
    assert grey[line].mean() < 0.6 * grey[~line].mean()
    assert not (line & (clips["segments"] == 0)).any()  # the background has none


def test_motion_is_of_the_size_that_is_asked_for():
    slow, fast = (stack(make_set(count=48, max_speed=speed))["flow"].norm(dim=2) for speed in (4.0, 12.0))

    assert 0.6 < slow.mean() < 1.6 and 1.8 < fast.mean() < 4.8
    assert fast.max() < 12 * 1.5 + 6  # a thing's speed, the background's, and what turning adds


def test_a_fixed_set_repeats_and_any_other_follows_torchs_generator():
    assert torch.equal(make_set()[5]["frames"], make_set()[5]["frames"])
    assert not torch.equal(make_set()[5]["frames"], make_set(seed=1)[5]["frames"])
    free = make_set(fixed=False)
    torch.manual_seed(3)
    first, second = free[0]["frames"], free[0]["frames"]
    torch.manual_seed(3)
    assert torch.equal(free[0]["frames"], first) and not torch.equal(first, second)


def test_what_a_user_can_get_wrong_is_named():
    with pytest.raises(ValueError, match="frames is 1; a clip has at least 2"):
        make_set(frames=1)
    with pytest.raises(ValueError, match="max_speed is 0"):
        make_set(max_speed=0)
    with pytest.raises(IndexError, match="sample 24 of 24"):
        make_set()[24]


def test_a_clip_is_drawn_in_milliseconds():
    data = make_set(size=(64, 96))
    data[0]
    started = time.perf_counter()
    for index in range(10):
        data[index]
    assert (time.perf_counter() - started) / 10 < 0.1  # 0.009 s on a busy machine when this was written

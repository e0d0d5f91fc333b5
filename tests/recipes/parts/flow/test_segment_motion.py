"""Affine motion of segments: exact where it is affine, whatever the numbers and however small the segments."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.flow.segment_motion import LABELS, fit_affine, fit_homography, segment_consistency

H, W = 16, 24
X, Y = torch.arange(float(W)), torch.arange(float(H))[:, None]


def affine(a, b, c, d, e, f):
    return torch.stack([a + b * X + c * Y, d + e * X + f * Y])[None]


def halves():
    return (torch.arange(W) >= W // 2).long().expand(1, 1, H, W).clone()


def test_two_segments_each_get_their_own_map():
    left, right = affine(1, 0.1, 0, -2, 0, 0.05), affine(-3, 0, 0.2, 0, -0.1, 0)
    flow = torch.where(halves() == 0, left, right)

    fit = fit_affine(flow, halves())

    assert fit.fitted.all() and torch.allclose(fit.flow, flow, atol=0.01)
    assert segment_consistency(flow, halves()).item() < 1e-3


def test_the_loss_is_the_distance_to_the_fit():
    flow = torch.zeros(1, 2, H, W)
    flow[:, 0] = ((torch.arange(W) + torch.arange(H)[:, None]) % 2) * 2.0 - 1  # a chequerboard of +1 and -1 px

    # No affine map is nearer to it than 0: Charbonnier's distance of 1 px.
    assert segment_consistency(flow, torch.zeros(1, 1, H, W).long()).item() == pytest.approx(0.99, abs=0.005)


def test_samples_of_a_batch_do_not_mix():
    one, two = affine(1, 0, 0, 0, 0, 0), affine(-5, 0.3, 0, 0, 0, 0)
    segments = torch.zeros(2, 1, H, W).long()

    fit = fit_affine(torch.cat([one, two]), segments)

    assert torch.allclose(fit.flow[:1], one, atol=0.01) and torch.allclose(fit.flow[1:], two, atol=0.02)


def test_small_segments_none_and_too_many_are_left_out():
    segments = torch.zeros(1, 1, H, W).long()
    segments[..., 0, :5], segments[..., 1, :], segments[..., 2, :] = 1, -1, LABELS

    fitted = fit_affine(torch.zeros(1, 2, H, W), segments, min_pixels=6).fitted

    assert torch.equal(fitted, segments == 0)
    assert segment_consistency(torch.rand(1, 2, H, W), segments, min_pixels=H * W).item() == 0


def test_hidden_pixels_do_not_move_the_fit_and_are_told_by_it():
    flow = affine(2, 0, 0, 0, 0, 0)
    flow[..., 20:] = math.nan
    seen = (torch.arange(W) < 20).expand(1, 1, H, W)

    fit = fit_affine(flow, torch.zeros(1, 1, H, W).long(), seen)

    assert fit.fitted.all() and torch.allclose(fit.flow, affine(2, 0, 0, 0, 0, 0), atol=1e-4)


def test_a_mask_without_a_pixel_fits_nothing_and_costs_nothing():
    flow = torch.rand(1, 2, H, W, requires_grad=True)

    value = segment_consistency(flow, halves(), torch.zeros(1, 1, H, W, dtype=torch.bool))
    value.backward()

    assert value.item() == 0 and flow.grad.abs().sum() == 0


def test_a_segment_that_is_a_line_keeps_a_finite_fit():
    segments = torch.where(Y == 3, 0, -1).expand(1, 1, H, W)
    flow = affine(1, 0.2, 0, 0, 0, 0)

    fit = fit_affine(flow, segments, min_pixels=10)

    assert torch.allclose(fit.flow[..., 3, :], flow[..., 3, :], atol=0.01) and fit.flow.isfinite().all()


def test_far_from_the_origin_and_in_half_precision_it_is_as_exact():
    wide = torch.zeros(1, 1, 4, 2000).long()
    flow = (0.01 * torch.arange(2000.0)).expand(1, 2, 4, 2000)

    assert segment_consistency(flow, wide).item() < 0.01
    assert segment_consistency(flow.half(), wide).item() < 0.02
    assert segment_consistency(flow.half(), wide).dtype == torch.float32


def test_the_gradient_pulls_towards_the_fit_and_not_the_fit_towards_the_flow():
    flow = torch.zeros(1, 2, H, W)
    flow[0, 0, 8, 12] = 4.0
    flow.requires_grad_()

    segment_consistency(flow, torch.zeros(1, 1, H, W).long()).backward()

    assert flow.grad[0, 0, 8, 12] > 0 and flow.grad[0, 0, 8, 12] >= flow.grad.abs().max() - 1e-6


def test_the_truth_of_a_cartoon_is_affine_in_its_own_segments_only():
    data = ProceduralCartoons(8, size=(48, 64), fixed=True)
    flow, segments = (torch.stack([data[index][name][0] for index in range(8)]) for name in ("flow", "segments"))

    own = segment_consistency(flow, segments)

    assert own < 0.01 < 0.2 < segment_consistency(flow, torch.zeros_like(segments))


def test_segments_must_be_whole_numbers_of_the_flows_size():
    with pytest.raises(ValueError, match="wanted .B,2,H,W., and whole numbers .B,1,H,W."):
        fit_affine(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))


# ----------------------------------------------------------------------------------------------------- homographies


def plane(seed, *, perspective=0.3, height=H, width=W):
    """The flow of a random homography, [1,2,H,W] px: the plane's depth varies by up to ``perspective`` either way."""
    draw = torch.Generator().manual_seed(seed)
    a, b, c, d = (torch.eye(2).flatten() + 0.2 * (torch.rand(4, generator=draw) - 0.5)).tolist()
    u, v = (8 * (torch.rand(2, generator=draw) - 0.5)).tolist()
    g, h = (perspective * (torch.rand(2, generator=draw) - 0.5)).tolist()
    x, y = torch.arange(float(width)) - width / 2, (torch.arange(float(height)) - height / 2)[:, None]
    below = 1 + g * x / (width / 2) + h * y / (height / 2)
    return torch.stack([(a * x + b * y + u) / below - x, (c * x + d * y + v) / below - y])[None]


@given(first=st.integers(0, 10**6), second=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_each_segment_gets_the_homography_that_moves_it(first, second):
    flow = torch.where(halves() == 0, plane(first), plane(second))

    fit = fit_homography(flow, halves())

    assert fit.fitted.all() and (fit.flow - flow).abs().max() < 0.02
    assert segment_consistency(flow, halves(), model="homography") < 0.005


def test_it_is_told_for_hidden_pixels_too_where_the_affine_map_is_wrong():
    flow = plane(3, perspective=1.0, height=48, width=64)
    segments, seen = torch.zeros(1, 1, 48, 64).long(), (torch.arange(64) < 44).expand(1, 1, 48, 64)
    hidden = torch.where(seen, flow, math.nan)
    errors = [(fit(hidden, segments, seen).flow - flow).abs().max() for fit in (fit_homography, fit_affine)]
    assert errors[0] < 0.1 < 0.5 < errors[1]


@given(
    seed=st.integers(0, 10**6), size=st.sampled_from([0.0, 0.1, 3.0, 1e3, 1e5]),
    shape=st.sampled_from(["line", "slope", "point", "two", "speckle", "all"]),
    kind=st.sampled_from(["affine", "homography"]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_whatever_the_flow_and_however_thin_the_segment_value_and_gradient_are_finite(seed, size, shape, kind):
    draw = torch.Generator().manual_seed(seed)
    where = {
        "line": Y.expand(H, W) == 3,
        "slope": X.expand(H, W) == Y,
        "point": (X == 2) & (Y == 2),
        "two": (X < 1) & (Y < 2),
        "speckle": torch.rand(H, W, generator=draw) < 0.1,
        "all": torch.ones(H, W, dtype=torch.bool),
    }[shape]
    flow = (size * torch.randn(1, 2, H, W, generator=draw)).requires_grad_()

    value = segment_consistency(flow, torch.where(where, 0, -1)[None, None], model=kind, min_pixels=1)
    value.backward()

    assert value.isfinite() and flow.grad.isfinite().all() and value <= 4 * size


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_homography_is_never_further_from_the_flow_than_the_affine_map(seed):
    draw = torch.Generator().manual_seed(seed)
    flow = 3 * torch.randn(2, 2, H, W, generator=draw)
    segments = torch.randint(0, 12, (2, 1, H, W), generator=draw)
    square = [(fit(flow, segments).flow - flow).square().mean() for fit in (fit_homography, fit_affine)]
    assert square[0] <= square[1] * (1 + 1e-5)


def test_a_homography_of_an_affine_flow_far_from_the_origin_is_affine():
    wide = torch.zeros(1, 1, 4, 2000).long()
    flow = (0.01 * torch.arange(2000.0)).expand(1, 2, 4, 2000)
    assert segment_consistency(flow, wide, model="homography") < 0.01

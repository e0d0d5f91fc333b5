"""Flow carried over: within what looks alike, from those who know, and never out of the range of what is there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.parts.flow.propagation import propagate


def halves(height=9, width=12):
    """Two colours side by side; each knows its motion in one column alone."""
    colour = (torch.arange(width) >= width // 2).float().expand(1, 1, height, width)
    flow = torch.zeros(1, 2, height, width)
    flow[..., 1], flow[..., -2] = 3.0, -1.0
    sure = torch.full((1, 1, height, width), 1e-9)
    sure[..., 1] = sure[..., -2] = 1.0
    return flow, sure, colour


def test_a_flat_half_gets_the_motion_of_its_own_known_pixels():
    flow, sure, colour = halves()

    spread_out = propagate(flow, sure, colour, spread=0.1, window=11)

    assert torch.allclose(spread_out[0, 0, :, :6], torch.tensor(3.0), atol=1e-3)
    assert torch.allclose(spread_out[0, 0, :, 6:], torch.tensor(-1.0), atol=1e-3)


def test_where_all_look_alike_and_are_as_sure_it_is_the_mean():
    flow = torch.rand(1, 2, 7, 7)
    ones = torch.ones(1, 1, 7, 7)

    mean = propagate(flow, ones, ones, spread=1.0, window=3)

    assert mean[0, :, 3, 3].tolist() == pytest.approx(flow[0, :, 2:5, 2:5].mean(dim=(1, 2)).tolist())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), window=st.sampled_from([3, 5]), dilation=st.integers(1, 4))
def test_it_stays_within_what_is_there_and_keeps_a_constant(seed, window, dilation):
    torch.manual_seed(seed)
    flow, sure, colour = 9 * torch.randn(2, 2, 8, 10), torch.rand(2, 1, 8, 10) + 1e-3, torch.rand(2, 3, 8, 10)

    carried = propagate(flow, sure, colour, spread=0.2, window=window, dilation=dilation)

    assert carried.shape == flow.shape
    assert carried.max() <= flow.max() + 1e-4 and carried.min() >= flow.min() - 1e-4
    constant = propagate(torch.full_like(flow, 2.5), sure, colour, spread=0.2, window=window, dilation=dilation)
    assert torch.allclose(constant, torch.tensor(2.5), atol=1e-5)


def test_flow_confidence_likeness_and_spread_can_all_be_learned():
    torch.manual_seed(0)
    parts = [torch.rand(1, channels, 6, 6).requires_grad_() for channels in (2, 1, 3)]
    spread = torch.tensor(0.3, requires_grad=True)

    propagate(*parts, spread=spread).square().sum().backward()

    for part in (*parts, spread):
        assert part.grad.isfinite().all() and part.grad.abs().sum() > 0

"""Scales by quantiles of the training cores: by hand, in the state, and weights of rare channels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.parts.staining.channel_scaler import ChannelScaler, whole
from recipes.parts.staining.core import Window
from recipes.parts.staining.procedural_cores import ProceduralCore


def ramp(*tops):
    return torch.stack([torch.linspace(0, top, 1001) for top in tops])


def test_quantiles_become_0_and_1_and_what_is_beyond_is_cut():
    scaler = ChannelScaler([True, True])
    scaler.fit_values(ramp(1000, 10), low=0.1, high=0.9)

    assert scaler.low.tolist() == pytest.approx([100, 1]) and scaler.high.tolist() == pytest.approx([900, 9])
    values = torch.tensor([[100.0, 500, 900, 2000], [0, 1, 5, 9]]).view(1, 2, 1, 4)
    assert torch.allclose(scaler(values)[0, :, 0], torch.tensor([[0, 0.5, 1, 1], [0, 0, 0.5, 1]]))


@given(st.floats(-100, 100), st.floats(0.01, 1000))
def test_strength_and_floor_of_a_channel_do_not_matter(floor, strength):
    values, other = ramp(7.0), ChannelScaler([True])
    scaler = ChannelScaler([True])
    scaler.fit_values(values, low=0.01, high=0.99)
    other.fit_values(floor + strength * values, low=0.01, high=0.99)

    pixels = values[:, ::100].view(1, 1, 1, -1)
    assert torch.allclose(scaler(pixels), other(floor + strength * pixels), atol=1e-3)


def test_a_channel_without_spread_is_nought():
    scaler = ChannelScaler([True])
    scaler.fit_values(torch.full((1, 10), 7.0), low=0.0, high=1.0)

    assert scaler(torch.full((1, 1, 1, 1), 7.0)).item() == 0.0


def test_the_state_carries_it():
    scaler, other = ChannelScaler([True, False]), ChannelScaler([True, False])
    scaler.fit_values(ramp(3, 5), low=0.0, high=1.0)
    other.load_state_dict(scaler.state_dict())

    assert set(scaler.state_dict()) == {"low", "high", "weights"}
    assert other.high.tolist() == [3, 5] and other.weights.tolist() == [1, 0]


def test_rare_channels_count_more_within_limits_and_blank_ones_nothing():
    # Of 1000 pixels 400, 200, 10 and 900 are positive; the median of those that count is 200.
    values = torch.stack([(torch.arange(1000) < count).float() for count in (400, 200, 10, 900)])
    scaler = ChannelScaler([True, True, True, False])
    scaler.fit_values(values, low=0.0, high=1.0, positive=0.5)

    # 200/400 = 0.5, 1, and 20 cut to 2: with mean 1 over the three.
    assert scaler.weights.tolist() == pytest.approx([3 / 7, 6 / 7, 12 / 7, 0])


def test_cores_are_looked_at_within_their_windows():
    core = ProceduralCore(0, side=64)
    part, all_of_it = ChannelScaler([True] * 8), ChannelScaler([True] * 8)
    part.fit([(core, Window(0, 0, 64, 16))], low=0.0, high=1.0, positive=None)
    all_of_it.fit([whole(core)], low=0.0, high=1.0, positive=None)

    assert part.high.tolist() == core.read(Window(0, 0, 64, 16))["target"].amax((1, 2)).tolist()
    assert all_of_it.high.tolist() == core.read(Window(0, 0, 64, 64))["target"].amax((1, 2)).tolist()


def test_no_valid_pixel_is_told():
    with pytest.raises(ValueError, match="no pixel of the training cores is valid"):
        ChannelScaler([True]).fit_values(torch.zeros(1, 0), low=0.0, high=1.0)

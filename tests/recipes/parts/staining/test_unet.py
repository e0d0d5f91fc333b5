"""The U-Net: its sizes, where it begins, and pictures of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recipes.parts.staining.unet import UNet, pad_to


@pytest.mark.parametrize(("base", "depth", "count"), [(16, 3, 483_908), (24, 4, 4_370_972), (32, 4, 7_766_900)])
def test_parameters_with_the_edges_as_input_and_20_markers(base, depth, count):
    assert sum(p.numel() for p in UNet(4, 20, base=base, depth=depth).parameters()) == count


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_any_size_goes_in_and_comes_out(height, width):
    network = UNet(3, 2, base=4, depth=2).eval()

    assert network(torch.rand(1, 3, height, width)).shape == (1, 2, height, width)


def test_padding_repeats_the_border_and_leaves_what_fits():
    padded = pad_to(torch.arange(6.0).view(1, 1, 2, 3), 4)

    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, :, 3].tolist() == [2, 5, 5, 5]
    fits = torch.rand(1, 1, 8, 4)
    assert pad_to(fits, 4) is fits


def test_it_begins_as_kaiming_wants():
    torch.manual_seed(0)
    network = UNet(3, 2, base=64, depth=2)
    layer = network.down[1][3]

    assert isinstance(layer, nn.Conv2d)
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert layer.bias is not None and layer.bias.abs().max() == 0


def test_no_levels_are_refused():
    with pytest.raises(ValueError, match="base is 8 and depth 0"):
        UNet(3, 2, base=8, depth=0)

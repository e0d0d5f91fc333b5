"""Networks of sequences: sizes, what they keep, and the grid that an order makes."""

import pytest
import torch
from torch import nn

from recipes.parts.gaussians.order import balanced_order
from recipes.parts.gaussians.sequence_networks import (
    ResidualBlock,
    ResidualDecoder,
    ResidualEncoder,
    conv1d_decoder,
    conv1d_encoder,
    fold,
    grid_of,
    unfold,
)


def channels_of(network):
    return [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv1d)]


def test_the_plain_networks_have_the_channels_they_are_known_by():
    encoder, decoder = conv1d_encoder(8, places=1), conv1d_decoder(8, latent=256, count=512)

    assert channels_of(encoder) == [32, 64, 128]
    assert channels_of(decoder) == [64, 32, 16, 8]
    assert encoder(torch.rand(2, 8, 512)).shape == (2, 512)
    assert decoder(torch.rand(2, 256)).shape == (2, 8, 512)


def test_one_average_forgets_what_was_where():
    # The same elements, in blocks that have changed places: only their seams tell.
    torch.manual_seed(0)
    sequence = torch.rand(1, 8, 512)
    moved = sequence.roll(256, dims=2)
    forgetful, mindful = conv1d_encoder(8, places=1).eval(), conv1d_encoder(8, places=16).eval()

    with torch.no_grad():
        change = [(net(sequence) - net(moved)).norm() / net(sequence).norm() for net in (forgetful, mindful)]
    assert change[0] < 0.02 < 0.05 < change[1]


@pytest.mark.parametrize("grid", [None, (8, 16)])
def test_residual_networks_give_their_sizes(grid):
    channels = (16, 32)
    encoder = ResidualEncoder(9, count=128, channels=channels, grid=grid)
    decoder = ResidualDecoder(9, latent=10, count=128, channels=channels, grid=grid)

    assert encoder(torch.rand(3, 9, 128)).shape == (3, 512)
    assert decoder(torch.rand(3, 10)).shape == (3, 9, 128)
    pooled = ResidualEncoder(9, count=128, channels=channels, grid=grid, keep_position=False)
    assert pooled(torch.rand(3, 9, 128)).shape == (3, 512)


def test_what_is_the_same_for_all_is_a_parameter():
    decoder = ResidualDecoder(9, latent=4, count=64, channels=(16,))
    with torch.no_grad():
        decoder.layers[-1].weight.zero_()
        decoder.layers[-1].bias.zero_()
        decoder.usual[2, 5] = 7.0
    found = decoder(torch.rand(2, 4))

    assert found[:, 2, 5].tolist() == [7.0, 7.0] and found.sum() == 14.0


def test_a_block_of_noughts_is_the_identity():
    block = ResidualBlock(8)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    features = torch.rand(2, 8, 5)

    assert torch.equal(block(features), features)


@pytest.mark.parametrize("count", [4, 8, 64, 512])
def test_unfolding_undoes_folding(count):
    sequence = torch.rand(2, 3, count)

    assert fold(sequence).shape == (2, 3, *grid_of(count))
    assert torch.equal(unfold(fold(sequence)), sequence)


def test_the_grid_of_the_balanced_order_is_the_plane():
    # Points of a regular grid of 16 rows and 32 columns come back to their rows and columns.
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(32.0), indexing="ij")
    points = torch.stack([x.flatten() / 32, y.flatten() / 16], 1)[torch.randperm(512)]
    grid = fold(points[balanced_order(points)].T[None])[0]

    assert torch.equal(grid[0], x / 32) and torch.equal(grid[1], y / 16)


def test_counts_that_do_not_go_are_refused():
    with pytest.raises(ValueError, match="100 Gaussians make no grid"):
        grid_of(100)
    with pytest.raises(ValueError, match="this decoder makes a multiple of 4"):
        conv1d_decoder(8, latent=4, count=30)
    with pytest.raises(ValueError, match="16 Gaussians cannot be halved 3 times each way"):
        ResidualEncoder(9, count=16, channels=(8, 8, 8), grid=(4, 4))

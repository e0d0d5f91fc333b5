"""The network with one eye."""

import pytest
import torch
from torch import nn

from recipes.parts.stereo.mono_depth_net import MonoDepthNet


def test_one_positive_disparity_at_full_size_with_or_without_a_right_image():
    torch.manual_seed(0)
    net, left = MonoDepthNet().eval(), torch.rand(2, 3, 48, 64)

    with torch.no_grad():
        (alone,), (paired,) = net(left), net(left, torch.rand_like(left))

    assert alone.shape == (2, 1, 48, 64) and torch.equal(alone, paired)
    assert alone.min() > 0 and alone.max() < 192
    assert alone.mean().item() == pytest.approx(16.0, rel=0.2)  # what an untrained network gives


def test_three_places_of_dropout_each_the_last_of_a_block_and_only_while_training():
    torch.manual_seed(0)
    net, left = MonoDepthNet(dropout=0.2), torch.rand(2, 3, 32, 32)

    dropouts = [module for module in net.modules() if isinstance(module, nn.Dropout2d)]

    assert [module.p for module in dropouts] == [0.2] * 3
    assert [block.mix[-1] for block in net.decoder] == dropouts
    with torch.no_grad():
        assert not torch.equal(net(left)[0], net(left)[0])
        net.eval()
        assert torch.equal(net(left)[0], net(left)[0])


def test_dropout_drops_whole_feature_maps():
    torch.manual_seed(0)
    block = MonoDepthNet(dropout=0.5).decoder[0].train()

    maps = block(torch.rand(1, 256, 2, 2), torch.rand(1, 128, 4, 4))[0]
    dropped = (maps == 0).all(dim=(1, 2)) if maps.ndim == 3 else None

    assert 0.3 < dropped.float().mean() < 0.8


def test_every_parameter_gets_a_gradient_and_the_sizes_are_known():
    net = MonoDepthNet()

    net(torch.rand(2, 3, 32, 32))[0].mean().backward()

    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
    assert sum(p.numel() for p in net.parameters()) == 3_377_825
    assert net.stride == 16


def test_it_learns_one_picture():
    torch.manual_seed(0)
    net, left = MonoDepthNet(), torch.rand(2, 3, 32, 32)
    truth = torch.linspace(5, 40, 32).expand(2, 1, 32, 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

    for _ in range(40):
        optimizer.zero_grad()
        error = (net(left)[0] - truth).abs().mean()
        error.backward()
        optimizer.step()

    assert error.item() < 3.0  # the mean alone would leave 8.75


def test_an_initial_disparity_out_of_bounds_is_named():
    with pytest.raises(ValueError, match="initial is 64 px"):
        MonoDepthNet(max_disparity=32, initial=64)

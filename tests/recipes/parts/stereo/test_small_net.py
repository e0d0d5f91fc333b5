"""The small stereo network."""

import pytest
import torch
from torch import nn

from recipes.parts.stereo.small_net import StereoNet, correlation_volume, look_up


def make_net(**settings):
    torch.manual_seed(0)
    return StereoNet(**{"max_disparity": 32, "width": 16, **settings})


def make_pair(size=2, height=32, width=64):
    return torch.rand(size, 3, height, width), torch.rand(size, 3, height, width)


def test_coarse_to_fine_predictions_while_training_and_the_last_one_otherwise():
    net, pair = make_net(), make_pair()

    training, evaluating = net.train()(*pair), net.eval()(*pair)

    assert [tuple(disparity.shape) for disparity in training] == [(2, 1, 32, 64)] * 3
    assert [tuple(disparity.shape) for disparity in evaluating] == [(2, 1, 32, 64)]
    assert all(disparity.dtype == torch.float32 for disparity in training)


def test_the_default_size():
    assert sum(parameter.numel() for parameter in StereoNet().parameters()) == 328_482


def test_every_parameter_gets_a_gradient():
    net = make_net()
    nn.init.normal_(net.update.change.weight)  # it starts at zero, and what is before it would get none

    sum(disparity.mean() for disparity in net(*make_pair())).backward()

    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_under_bfloat16_disparities_are_float32_and_nearly_the_same():
    net, pair = make_net().eval(), make_pair()

    with torch.no_grad():
        exact = net(*pair)[-1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = net(*pair)[-1]

    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.1


def test_dropout_acts_while_training_only():
    net, pair = make_net(dropout=0.3), make_pair()

    assert any(isinstance(module, nn.Dropout2d) and module.p == 0.3 for module in net.modules())
    assert not torch.equal(net(*pair)[-1], net(*pair)[-1])
    net.eval()
    assert torch.equal(net(*pair)[-1], net(*pair)[-1])


def test_the_volume_finds_a_shift_and_looks_nowhere_else():
    torch.manual_seed(0)
    right = torch.randn(2, 8, 4, 24)
    left = torch.zeros_like(right)
    left[..., 3:] = right[..., :-3]  # what is at x in the left is at x - 3 in the right

    volume = correlation_volume(left, right, bins=6, groups=2)

    assert volume.shape == (2, 2, 6, 4, 24)
    assert (volume.mean(1).argmax(1)[..., 6:] == 3).all()
    assert torch.allclose(volume[:, :, 3, :, 3:], torch.ones(()), atol=1e-5)
    for d in range(6):
        assert (volume[:, :, d, :, :d] == 0).all()
        one = nn.functional.cosine_similarity(left[:, :4, :, d:], right[:, :4, :, : 24 - d], dim=1)
        assert torch.allclose(volume[:, 0, d, :, d:], one, atol=1e-5)


def test_looking_up_is_linear_and_zero_beyond_the_ends():
    volume = torch.arange(1.0, 5).reshape(1, 1, 4, 1, 1)

    def around(d):
        return look_up(volume, torch.full((1, 1, 1, 1), d), reach=1).flatten().tolist()

    assert around(1.0) == [1, 2, 3]
    assert around(1.25) == [1.25, 2.25, 3.25]
    assert around(0.0) == [0, 1, 2]
    assert around(3.5) == [3.5, 2, 0]
    assert around(99.0) == [0, 0, 0]


def test_it_learns_the_disparity_of_one_pair():
    net = make_net()
    torch.manual_seed(1)
    right = nn.functional.interpolate(torch.rand(2, 3, 16, 32), (32, 64))
    shift = torch.tensor([4, 12])
    left = torch.stack([image.roll(int(by), -1) for image, by in zip(right, shift)])
    truth = shift.float().reshape(2, 1, 1, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    for _ in range(20):
        optimizer.zero_grad()
        sum((disparity - truth).abs().mean() for disparity in net(left, right)).backward()
        optimizer.step()

    assert (net(left, right)[-1] - truth).abs().mean() < 1.5  # the best constant is wrong by 4


@pytest.mark.parametrize(
    ("settings", "words"), [({"max_disparity": 40}, "max_disparity is 40 px"), ({"width": 24}, "width is 24")]
)
def test_wrong_sizes_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        make_net(**settings)


def test_wrong_images_are_named():
    with pytest.raises(ValueError, match="30 x 64 px; pad them to multiples of 16"):
        make_net()(*make_pair(height=30))
    with pytest.raises(ValueError, match=r"both must be the same \[B,3,H,W\]"):
        make_net()(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 48))

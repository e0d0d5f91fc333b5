"""The full-size stereo network, at a small size."""

import pytest
import torch

from recipes.parts.stereo.group_volume_net import GroupVolumeNet, group_correlation


def make_net(**settings):
    torch.manual_seed(0)
    return GroupVolumeNet(**{"max_disparity": 32, "groups": 4, "width": 8, "hourglasses": 1, **settings})


def make_pair(size=2, height=32, width=48):
    return torch.rand(size, 3, height, width), torch.rand(size, 3, height, width)


def test_one_prediction_per_stage_while_training_and_the_last_one_otherwise():
    net, pair = make_net(hourglasses=2), make_pair()

    training, evaluating = net.train()(*pair), net.eval()(*pair)

    assert [tuple(disparity.shape) for disparity in training] == [(2, 1, 32, 48)] * 3
    assert [tuple(disparity.shape) for disparity in evaluating] == [(2, 1, 32, 48)]
    assert all((disparity >= 0).all() and (disparity <= 28).all() for disparity in training)  # 7 bins of 4 px
    assert all(disparity.dtype == torch.float32 for disparity in training)


def test_every_parameter_gets_a_gradient():
    net = make_net()

    sum(disparity.mean() for disparity in net(*make_pair())).backward()

    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_the_default_size_and_its_encoder():
    net = GroupVolumeNet()

    assert sum(p.numel() for p in net.parameters()) == 4_738_448
    assert sum(p.numel() for p in net.encoder.parameters()) == 2_782_784  # ResNet-18 without its last layer and head
    assert net.stride == 16 and net.bins == 48


def test_images_narrower_than_the_largest_disparity_are_fine():
    assert make_net(max_disparity=64).eval()(*make_pair(width=32))[0].shape == (2, 1, 32, 32)


def test_evaluation_of_a_sample_does_not_depend_on_its_batch():
    net, (left, right) = make_net().eval(), make_pair(size=3)

    with torch.no_grad():
        together, alone = net(left, right)[0][1:2], net(left[1:2], right[1:2])[0]

    assert torch.allclose(together, alone, atol=1e-4)


def test_dropout_acts_while_training_only():
    net, pair = make_net(dropout=0.5), make_pair()

    with torch.no_grad():
        assert not torch.equal(net.train()(*pair)[-1], net(*pair)[-1])
        assert torch.equal(net.eval()(*pair)[-1], net(*pair)[-1])


def test_the_correlation_is_highest_at_the_true_shift():
    torch.manual_seed(0)
    right = torch.randn(1, 16, 4, 40)
    left = torch.zeros_like(right)
    left[..., 5:] = right[..., :-5]

    volume = group_correlation(left, right, bins=8, groups=4)

    assert volume.shape == (1, 4, 8, 4, 40)
    assert (volume.mean(1)[..., 8:].argmax(dim=1) == 5).float().mean() > 0.99
    assert volume[0, :, 6, :, :6].abs().sum() == 0  # the match would be outside


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="10 channels do not divide into 4 groups"):
        group_correlation(torch.rand(1, 10, 2, 2), torch.rand(1, 10, 2, 2), bins=1, groups=4)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"max_disparity": 40}, "multiple of 16"), ({"hourglasses": 0}, "at least one")]
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        GroupVolumeNet(**wrong)


def test_it_overfits_one_pair():
    torch.manual_seed(0)
    net = make_net(max_disparity=16)
    right = torch.rand(1, 3, 8, 16).repeat_interleave(4, -1).repeat_interleave(4, -2)
    left = right.roll(4, -1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

    for _ in range(30):
        optimizer.zero_grad()
        error = (net(left, right)[-1] - 4.0).abs().mean()
        error.backward()
        optimizer.step()

    assert error.item() < 0.8

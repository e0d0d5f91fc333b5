"""The shared encoder."""

import pytest
import torch
from torchvision.models import resnet18

from recipes.parts.pretrained import load_matching
from recipes.parts.resnet_encoder import ResNetEncoder


def test_features_halve_at_each_step():
    features = ResNetEncoder(4)(torch.rand(1, 3, 64, 96))

    assert [tuple(level.shape[1:]) for level in features] == [
        (64, 32, 48),
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]
    assert ResNetEncoder(4).channels == (64, 64, 128, 256, 512)


def test_to_layer_2_it_has_683072_parameters():
    assert sum(p.numel() for p in ResNetEncoder(2).parameters()) == 683_072


def test_a_torchvision_file_fills_it_and_gives_the_same_features():
    torch.manual_seed(0)
    whole, encoder = resnet18(weights=None).eval(), ResNetEncoder(3).eval()
    with torch.no_grad():
        for tensor in whole.buffers():
            tensor.copy_(1 + torch.rand(tensor.shape) if tensor.ndim else tensor)
        report = load_matching(encoder, whole.state_dict())
        image = torch.rand(1, 3, 32, 32)
        x = whole.bn1(whole.conv1((image - encoder.mean) / encoder.deviation))
        x = whole.layer3(whole.layer2(whole.layer1(whole.maxpool(whole.relu(x)))))

        assert torch.equal(encoder(image)[-1], x)
    assert report.missing == () and not report.other_shape
    assert {name.split(".")[0] for name in report.unused} == {"layer4", "fc"}


def test_normalised_inside():
    encoder = ResNetEncoder(1).eval()
    mean = encoder.mean.expand(1, 3, 16, 16)

    assert encoder(mean)[0].abs().max() == 0  # the mean colour becomes zero, which the first layer leaves


def test_depths_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="depth is 5"):
        ResNetEncoder(5)

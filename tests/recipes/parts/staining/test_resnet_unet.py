"""The U-Net on a ResNet-34: sizes, and weights of torchvision's files."""

import torch
from torchvision.models import resnet34

from recipes.parts.pretrained import load_matching
from recipes.parts.staining.resnet_unet import ResNetUNet


def test_any_size_goes_in_and_comes_out():
    network = ResNetUNet(5).eval()

    assert network(torch.rand(2, 3, 50, 33)).shape == (2, 5, 50, 33)


def test_every_parameter_gets_a_gradient():
    network = ResNetUNet(2)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_file_of_torchvision_fills_the_encoder():
    whole = resnet34(weights=None)
    report = load_matching(ResNetUNet(2).get_submodule("encoder"), whole.state_dict())

    assert (report.missing, report.other_shape) == ((), {})
    assert report.unused == ("fc.weight", "fc.bias")

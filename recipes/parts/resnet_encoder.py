"""A ResNet-18 or 34 cut off where a decoder takes over."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnet18, resnet34

CHANNELS = (64, 64, 128, 256, 512)  # after the stem (1/2) and layers 1 to 4 (1/4, 1/8, 1/16, 1/32)

NETWORKS = {18: resnet18, 34: resnet34}


class ResNetEncoder(nn.Module):
    """ResNet-18 or 34 (He, 2015) up to layer ``depth``, without weights; gives its features fine to coarse.

    The parameters are named as torchvision's, so that its files fit. Images in 0..1 are normalised inside with the
    mean and deviation that those files expect.

    >>> [tuple(features.shape) for features in ResNetEncoder(2)(torch.rand(1, 3, 32, 64))]
    [(1, 64, 16, 32), (1, 64, 8, 16), (1, 128, 4, 8)]
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, depth: int = 3, *, layers: int = 18):
        if not 1 <= depth <= 4:
            raise ValueError(f"depth is {depth}; a ResNet-{layers} has layers 1 to 4")
        if layers not in NETWORKS:
            raise ValueError(f"layers is {layers}; it can be 18 or 34")
        super().__init__()
        whole = NETWORKS[layers](weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.depth = depth
        for number in range(1, depth + 1):
            self.add_module(f"layer{number}", getattr(whole, f"layer{number}"))
        # Of ImageNet. Not part of the state: a torchvision file has no such entry.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    @property
    def channels(self) -> tuple[int, ...]:
        """How many channels each of the features has."""
        return CHANNELS[: self.depth + 1]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of ``image`` [B,3,H,W] in 0..1 at 1/2, 1/4, ... of its size: the stem's, then each layer's."""
        features = [self.relu(self.bn1(self.conv1((image - self.mean) / self.deviation)))]
        x = self.maxpool(features[0])
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"layer{number}")(x)
            features.append(x)
        return features

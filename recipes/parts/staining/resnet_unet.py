"""A U-Net whose way down is a ResNet-34."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.resnet_encoder import ResNetEncoder
from recipes.parts.staining.unet import double_conv, initialise, pad_to

WIDTHS = (256, 128, 64, 48, 32)  # of the way up, from 1/16 of the size to the whole


class ResNetUNet(nn.Module):
    """Pictures [B,3,H,W] in 0..1 of any size to maps [B,out,H,W] without a last nonlinearity.

    The encoder's parameters are named as torchvision's under ``encoder.``, so that a file of ImageNet's weights fits
    it.

    >>> ResNetUNet(4).eval()(torch.rand(1, 3, 40, 64)).shape
    torch.Size([1, 4, 40, 64])
    """

    stride = 32

    def __init__(self, outputs: int):
        super().__init__()
        self.encoder = ResNetEncoder(4, layers=34)
        before, skips = self.encoder.channels[-1], (*self.encoder.channels[-2::-1], 0)
        steps = []
        for width, skip in zip(WIDTHS, skips):
            steps.append(double_conv(before + skip, width))
            before = width
        self.up = nn.ModuleList(steps)
        self.head = nn.Conv2d(before, outputs, 1)
        initialise(self.up)
        initialise(self.head)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        *skips, x = self.encoder(pad_to(picture, self.stride))
        for step in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = step(torch.cat([x, skips.pop()], 1) if skips else x)
        logits: torch.Tensor = self.head(x)
        return logits[..., :height, :width]

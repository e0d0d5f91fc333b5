"""Disparity from one eye: a ResNet-18 encoder and a U-Net decoder."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.resnet_encoder import ResNetEncoder


class MonoDepthNet(nn.Module):
    """Guesses disparity from the left image alone, by what things look like.

    The ground to compare a stereo network with: it knows the scale of its training set and no other. After Monodepth2
    (2019), with one output and, against overfitting, dropout of whole feature maps after each decoder block.

    Args:
        dropout: the share of feature maps dropped at each of the three places while training; 0 for none.
        max_disparity: px, the bound of the output.
        initial: px, about what an untrained network gives.
    """

    stride = 16

    def __init__(self, *, dropout: float = 0.0, max_disparity: float = 192.0, initial: float = 16.0):
        if not 0 < initial < max_disparity:
            raise ValueError(f"initial is {initial} px; it must be between 0 and max_disparity, {max_disparity} px")
        super().__init__()
        self.max_disparity = max_disparity
        self.encoder = ResNetEncoder(depth=3)
        half, quarter, eighth, sixteenth = self.encoder.channels
        self.decoder = nn.ModuleList(
            [
                DecoderBlock(sixteenth, eighth, 128, dropout=dropout),
                DecoderBlock(128, quarter, 64, dropout=dropout),
                DecoderBlock(64, half, 32, dropout=dropout),
            ]
        )
        last = nn.Conv2d(16, 1, 3, padding=1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, math.log(initial / (max_disparity - initial)))  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(inplace=True), last)

    def forward(self, left: torch.Tensor, right: torch.Tensor | None = None) -> list[torch.Tensor]:
        """One disparity [B,1,H,W], px, for ``left`` [B,3,H,W] in 0..1; ``right`` is not looked at."""
        *skips, x = self.encoder(left)
        for block, skip in zip(self.decoder, reversed(skips)):
            x = block(x, skip)
        x = self.head(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        return [self.max_disparity * torch.sigmoid(x.float())]


class DecoderBlock(nn.Module):
    """Twice the size, joined with the encoder's features of that size, mixed; the last thing is the dropout."""

    def __init__(self, channels: int, skip: int, out: int, *, dropout: float):
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels + skip, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        mixed: torch.Tensor = self.mix(torch.cat([x, skip], dim=1))
        return mixed

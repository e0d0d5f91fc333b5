"""A U-Net of any width and depth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Pictures [B,in,H,W] of any size to maps [B,out,H,W] without a last nonlinearity (Ronneberger et al., 2015).

    Two 3x3 convolutions with batch normalisation a level, max pooling on the way down, transposed convolutions on the
    way up; sizes that ``stride`` does not divide are padded by repeating the border and cut back. Weights begin as He
    et al. (2015) want them for ReLU.

    Args:
        base: channels of the first level; each next one has twice as many.
        depth: how often the size is halved.

    >>> sum(parameter.numel() for parameter in UNet(4, 20, base=16, depth=3).parameters())
    483908
    >>> UNet(3, 5, base=8, depth=2)(torch.rand(1, 3, 30, 41)).shape
    torch.Size([1, 5, 30, 41])
    """

    def __init__(self, inputs: int, outputs: int, *, base: int = 32, depth: int = 4):
        super().__init__()
        if depth < 1 or base < 1:
            raise ValueError(f"base is {base} and depth {depth}; both must be at least 1")
        widths = [base * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.down = nn.ModuleList(double_conv(before, width) for before, width in zip([inputs, *widths], widths))
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in pairs)
        self.merge = nn.ModuleList(double_conv(2 * width, width) for _, width in pairs)
        self.head = nn.Conv2d(base, outputs, 1)
        initialise(self)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        x = pad_to(picture, self.stride)
        skips = []
        for number, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1]):
            x = merge(torch.cat([skip, up(x)], 1))
        logits: torch.Tensor = self.head(x)
        return logits[..., :height, :width]


def double_conv(before: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
    )  # fmt: skip


def initialise(module: nn.Module) -> None:
    """Kaiming normal weights and no bias in every convolution of ``module``."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def pad_to(picture: torch.Tensor, stride: int) -> torch.Tensor:
    """``picture`` [B,C,H,W] made a multiple of ``stride`` px on the right and below, by repeating the border."""
    below, right = (-length % stride for length in picture.shape[-2:])
    return F.pad(picture, (0, right, 0, below), mode="replicate") if below or right else picture

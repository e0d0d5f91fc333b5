"""A ResNet-50 to which padding is nothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

BLOCKS = (3, 4, 6, 3)


class MaskedResNet50(nn.Module):
    """ResNet-50 (He, 2015) with frozen normalisation and features at 1/32 [B,2048,H/32,W/32].

    Its tensors are named as torchvision's, so that its files fit (all but ``fc``). What is padding is nought after
    each layer, as what is beyond the border is: features do not depend on how much of it there is. In the usual
    network they do, since a normalised nought is none any more, and the next convolution carries that inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(64)
        inputs = 64
        for number, count in enumerate(BLOCKS, start=1):
            width, strides = 32 * 2**number, [1 if number == 1 else 2] + [1] * (count - 1)
            blocks = []
            for stride in strides:
                blocks.append(_Bottleneck(inputs, width, stride))
                inputs = 4 * width
            self.add_module(f"layer{number}", nn.ModuleList(blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of ``image`` [B,3,H,W], normalised, nought where ``mask`` [B,H,W] is false; and the mask at 1/32."""
        mask = mask[:, ::2, ::2]
        x = F.relu(self.bn1(self.conv1(image))) * mask.unsqueeze(1)
        mask = mask[:, ::2, ::2]
        x = F.max_pool2d(x, 3, 2, 1) * mask.unsqueeze(1)
        for number in range(1, 5):
            for block in self.get_submodule(f"layer{number}"):  # type: ignore[attr-defined]
                x, mask = block(x, mask)
        return x, mask


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1, and a way around them."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), FrozenBatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), FrozenBatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != 4 * width:
            around = nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(around, FrozenBatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        smaller = mask[:, :: self.stride, :: self.stride]
        y = F.relu(self.bn1(self.conv1(x))) * mask.unsqueeze(1)
        y = F.relu(self.bn2(self.conv2(y)))
        around = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)) + around) * smaller.unsqueeze(1), smaller

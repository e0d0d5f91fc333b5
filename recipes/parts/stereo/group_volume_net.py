"""Stereo matching by a group-wise correlation volume, the full-size network."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.resnet_encoder import ResNetEncoder
from recipes.parts.stereo.disparity_readout import soft_argmin, upsample_convex

SCALE = 4  # the volume's resolution: one cell is 4 x 4 px, one bin 4 px


class GroupVolumeNet(nn.Module):
    """GwcNet (Guo, 2019) on ResNet-18 features: group-wise correlation, 3-D hourglasses, soft-argmin after each.

    Features of both eyes at 1/4 are compared at every disparity up to ``max_disparity``, in groups of channels. The
    disparity is taken at 1/4 and brought to full size by weights learned from the left image (RAFT, 2020): an eighth of
    the memory that upsampling the volume needs.

    Args:
        max_disparity: px, a multiple of 16; what is nearer cannot be found.
        groups: of channels, each with a correlation of its own.
        width: channels inside the hourglasses.
        hourglasses: how many; while training there is a prediction before the first and after each.
        dropout: the share of whole feature maps and of whole channels of the volume dropped while training.
    """

    stride = 16

    def __init__(
        self,
        *,
        max_disparity: int = 192,
        groups: int = 20,
        width: int = 32,
        hourglasses: int = 2,
        dropout: float = 0.0,
    ):
        if max_disparity <= 0 or max_disparity % 16:
            raise ValueError(f"max_disparity is {max_disparity} px; it must be a multiple of 16 above 0")
        if hourglasses < 1:
            raise ValueError(f"hourglasses is {hourglasses}; there must be at least one")
        super().__init__()
        self.max_disparity = max_disparity
        self.bins, self.groups = max_disparity // SCALE, groups
        self.encoder = ResNetEncoder(depth=3)
        _, quarter, eighth, sixteenth = self.encoder.channels
        self.features = nn.Sequential(
            _conv2d(quarter + eighth + sixteenth, 8 * groups),
            nn.Dropout2d(dropout),
            nn.Conv2d(8 * groups, 8 * groups, 1),
        )
        self.entry = nn.Sequential(_conv3d(groups, width), _conv3d(width, width))
        self.hourglasses = nn.ModuleList([Hourglass(width, dropout=dropout) for _ in range(hourglasses)])
        self.scores = nn.ModuleList([_score(width) for _ in range(hourglasses + 1)])
        self.upsampling = nn.Sequential(_conv2d(quarter, 64), nn.Conv2d(64, 9 * SCALE**2, 1))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> list[torch.Tensor]:
        """Disparities [B,1,H,W] in px for ``left`` and ``right`` [B,3,H,W] in 0..1; H, W multiples of 16.

        Coarse to fine while training; the last one alone in evaluation mode.
        """
        batch = left.shape[0]
        # Both eyes in one pass: they share the weights, and the batch statistics too.
        pyramid = self.encoder(torch.cat([left, right]))[1:]
        features = self.features(torch.cat([_resized(level, pyramid[0]) for level in pyramid], dim=1))
        volume = group_correlation(features[:batch], features[batch:], bins=self.bins, groups=self.groups)
        stages = [self.entry(volume)]
        for hourglass in self.hourglasses:
            stages.append(hourglass(stages[-1]))
        scored = list(zip(self.scores, stages))
        if not self.training:
            scored = scored[-1:]
        weights = self.upsampling(pyramid[0][:batch])
        return [upsample_convex(soft_argmin(score(stage)[:, 0]), weights) * SCALE for score, stage in scored]


def group_correlation(left: torch.Tensor, right: torch.Tensor, *, bins: int, groups: int) -> torch.Tensor:
    """Mean product of ``left`` and ``right`` features [B,C,H,W] in each of ``groups``, for shifts of 0 to bins - 1.

    Entry [b,g,d,y,x] of [B,groups,bins,H,W] compares x in left with x - d in right; 0 where that is outside (GwcNet,
    2019, equation 2).

    >>> features = torch.arange(1.0, 4.0).view(1, 1, 1, 3)
    >>> group_correlation(features, features, bins=2, groups=1).squeeze()
    tensor([[1., 4., 9.],
            [0., 2., 6.]])
    """
    batch, channels, height, width = left.shape
    if channels % groups:
        raise ValueError(f"{channels} channels do not divide into {groups} groups")
    left, right = (features.view(batch, groups, channels // groups, height, width) for features in (left, right))
    shifts = []
    for shift in range(bins):
        visible = max(width - shift, 0)
        products = (left[..., width - visible :] * right[..., :visible]).mean(2)
        shifts.append(F.pad(products, (width - visible, 0)))
    return torch.stack(shifts, dim=2)


class Hourglass(nn.Module):
    """3-D convolutions down to a quarter of the volume and back, added to what came in."""

    def __init__(self, width: int, *, dropout: float):
        super().__init__()
        self.down_half = nn.Sequential(_conv3d(width, 2 * width, stride=2), _conv3d(2 * width, 2 * width))
        self.down_quarter = nn.Sequential(_conv3d(2 * width, 2 * width, stride=2), _conv3d(2 * width, 2 * width))
        self.dropout = nn.Dropout3d(dropout)
        self.up_half = _conv3d_up(2 * width, 2 * width)
        self.up_full = _conv3d_up(2 * width, width)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """``volume`` [B,width,D,H,W] refined; D, H and W are multiples of 4."""
        half = self.down_half(volume)
        quarter = self.dropout(self.down_quarter(half))
        half = F.relu(self.up_half(quarter) + half)
        refined: torch.Tensor = F.relu(self.up_full(half) + volume)
        return refined


def _resized(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if features.shape[-2:] == like.shape[-2:]:
        return features
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _conv2d(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _conv3d(channels: int, out: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv3d(channels, out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out), nn.ReLU(inplace=True))


def _conv3d_up(channels: int, out: int) -> nn.Sequential:
    convolution = nn.ConvTranspose3d(channels, out, 3, stride=2, padding=1, output_padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out))


def _score(width: int) -> nn.Sequential:
    return nn.Sequential(_conv3d(width, width), nn.Conv3d(width, 1, 3, padding=1, bias=False))

"""A small stereo network: a coarse guided cost volume, one local correction of it, and convex upsampling."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.stereo.disparity_readout import soft_argmin, upsample_convex

QUARTER, EIGHTH = 4, 8  # px an entry of the two scales of features, and also px a bin of their correlation volumes


class StereoNet(nn.Module):
    """Disparity of the left image of a rectified pair; 0.33 M parameters.

    A volume at an eighth of the size, one bin for 8 px, is searched by a 3-D hourglass: its weights are shared by all
    disparities (GC-Net, 2017), so what is learned of matching at one of them holds at the others, and the left features
    scale its channels (CoEx, 2021). At a quarter, where a bin is 4 px, the scores around that first answer correct it
    (a single update of RAFT-Stereo, 2021). Both volumes are group-wise correlations (GwcNet, 2019) of unit vectors. A
    convex combination of neighbours brings the answer to full size (RAFT, 2020).

    Args:
        max_disparity: px, a positive multiple of 16; what is nearer is not found.
        width: channels of the features at a quarter, a positive multiple of 16; all others follow from it.
        dropout: the share of whole channels left out of the hourglass and of the update while training.
    """

    stride = 16

    def __init__(self, *, max_disparity: int = 96, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        if max_disparity <= 0 or max_disparity % 16:
            raise ValueError(f"max_disparity is {max_disparity} px; it must be a positive multiple of 16")
        if width <= 0 or width % 16:
            raise ValueError(f"width is {width}; it must be a positive multiple of 16")
        self.max_disparity = max_disparity
        self.quarter_groups, self.eighth_groups = width // 8, width // 4
        self.encoder = Encoder(width)
        self.hourglass = Hourglass(self.eighth_groups, self.encoder.eighth_width, width, dropout)
        self.update = Update(self.quarter_groups, width, dropout)
        self.upsampling = ConvexUpsampling(2 * width)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> list[torch.Tensor]:
        """Disparities float32 [B,1,H,W] in px of ``left`` and ``right`` [B,3,H,W] in 0..1; H, W multiples of 16.

        While training three of them, coarse to fine; in evaluation mode a list of the last one.
        """
        _check_images(left, right, self.stride)
        batch, size = len(left), left.shape[-2:]
        # This layout makes convolutions twice as fast on a CPU, and they keep it.
        pair = torch.cat([left, right]).contiguous(memory_format=torch.channels_last) - 0.5
        quarter, eighth, quarter_matching, eighth_matching = self.encoder(pair)
        quarter, eighth = quarter[:batch], eighth[:batch]
        coarse_volume = correlation_volume(
            *eighth_matching.chunk(2), bins=self.max_disparity // EIGHTH, groups=self.eighth_groups
        )
        scores = self.hourglass(coarse_volume.contiguous(memory_format=torch.channels_last_3d), eighth)
        first = F.interpolate(soft_argmin(scores) * (EIGHTH / QUARTER), scale_factor=2.0, mode="bilinear")
        fine_volume = correlation_volume(
            *quarter_matching.chunk(2), bins=self.max_disparity // QUARTER, groups=self.quarter_groups
        )
        second, hidden = self.update(fine_volume, quarter, first)
        final = self.upsampling(second * QUARTER, torch.cat([quarter, hidden], dim=1))
        if not self.training:
            return [final]
        return [F.interpolate(bins * QUARTER, size, mode="bilinear") for bins in (first, second)] + [final]


class Encoder(nn.Module):
    """Features of images [B,3,H,W] at a quarter and at an eighth, and projections of each for matching.

    Gives [B,width,H/4,W/4], [B,1.5 width,H/8,W/8], then [B,width,H/4,W/4], [B,width,H/8,W/8].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.eighth_width = eighth = 3 * width // 2
        self.stem = nn.Sequential(_conv(3, width // 2, stride=2, kernel=5), _conv(width // 2, width, stride=2))
        self.quarter = Residual(width)
        self.eighth = nn.Sequential(_conv(width, eighth, stride=2), Residual(eighth), Residual(eighth, dilation=2))
        self.rise = nn.Conv2d(eighth, width, 1)
        self.merge = _conv(width, width)
        self.quarter_matching = nn.Conv2d(width, width, 1)
        self.eighth_matching = nn.Conv2d(eighth, width, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.quarter(self.stem(images))
        eighth = self.eighth(fine)
        quarter = self.merge(fine + F.interpolate(self.rise(eighth), scale_factor=2.0, mode="nearest"))
        return quarter, eighth, self.quarter_matching(quarter), self.eighth_matching(eighth)


class Residual(nn.Module):
    """Two convolutions beside an identity, [B,width,H,W] to the same."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(width, width, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(features + self.norm(self.second(self.first(features))))


class Hourglass(nn.Module):
    """Scores [B,D,H,W] of every disparity, from a volume [B,groups,D,H,W] and left features [B,context,H,W]."""

    def __init__(self, groups: int, context: int, width: int, dropout: float) -> None:
        super().__init__()
        half = width // 2
        self.enter = nn.Sequential(_conv3d(groups, half), _conv3d(half, half))
        self.down = _conv3d(half, width, stride=2)
        self.bottom = nn.Sequential(_conv3d(width, width), nn.Dropout3d(dropout), _conv3d(width, width))
        self.rise = _conv3d(width, half, kernel=1)
        self.leave = nn.Sequential(_conv3d(half, half), nn.Dropout3d(dropout), nn.Conv3d(half, 1, 1))
        self.excite = nn.Conv2d(context, half, 1)
        self.excite_down = nn.Conv2d(context, width, 1)

    def forward(self, volume: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        fine = self.enter(volume) * self.excite(context).sigmoid()[:, :, None]
        coarse = self.down(fine) * self.excite_down(F.avg_pool2d(context, 2)).sigmoid()[:, :, None]
        rise = F.interpolate(self.rise(self.bottom(coarse)), scale_factor=2.0, mode="nearest")
        return self.leave(fine + rise)[:, 0]


class Update(nn.Module):
    """Correct a disparity [B,1,H,W], in bins, by the volume's scores within ``reach`` bins of it, and by features."""

    def __init__(self, groups: int, width: int, dropout: float, *, reach: int = 4) -> None:
        super().__init__()
        self.reach = reach
        self.enter = _conv(groups * (2 * reach + 1) + 1 + width, width)
        self.body = nn.Sequential(Residual(width), Residual(width, dilation=2), nn.Dropout2d(dropout))
        self.change = nn.Conv2d(width, 1, 3, padding=1)
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)  # at the start it leaves the disparity as it is

    def forward(
        self, volume: torch.Tensor, features: torch.Tensor, disparity: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The corrected disparity [B,1,H,W] and hidden features [B,width,H,W]."""
        disparity = disparity.detach()  # the place of looking up gets no gradient, as in RAFT
        around = look_up(volume, disparity, reach=self.reach).flatten(1, 2)
        share = disparity / volume.shape[2]
        hidden = self.body(self.enter(torch.cat([around.to(features.dtype), share.to(features.dtype), features], 1)))
        return disparity + self.change(hidden).float(), hidden


class ConvexUpsampling(nn.Module):
    """Disparity [B,1,H,W] to [B,1,4H,4W]: every pixel a mean of 3 x 3 neighbours, with weights from features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(_conv(width, 64), nn.Conv2d(64, 9 * QUARTER * QUARTER, 1))

    def forward(self, disparity: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return upsample_convex(disparity, self.weights(features))


def correlation_volume(left: torch.Tensor, right: torch.Tensor, *, bins: int, groups: int) -> torch.Tensor:
    """Cosine of the features of left x and right x - d, [B,groups,bins,H,W], from two [B,C,H,W]; 0 beyond the border.

    All pairs of a row are one matrix product; the band of wanted offsets is cut out of it by reshaping.

    >>> volume = correlation_volume(torch.ones(1, 4, 1, 3), torch.ones(1, 4, 1, 3), bins=2, groups=2)
    >>> volume[0, 0, :, 0].round().tolist()   # at x = 0 there is nothing one entry further left
    [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    batch, channels, height, width = left.shape
    left, right = (
        F.normalize(side.reshape(batch, groups, channels // groups, height, width).float(), dim=2).to(left.dtype)
        for side in (left, right)
    )
    right = F.pad(right, (bins - 1, 0))
    pairs = left.permute(0, 3, 1, 4, 2) @ right.permute(0, 3, 1, 2, 4)  # [B,H,groups,W,bins-1+W]
    flat = F.pad(pairs.flatten(-2), (0, width))  # row x now begins x entries later: offset k stands in column k
    band = flat.unflatten(-1, (width, width + bins))[..., :bins].flip(-1)
    return band.permute(0, 2, 4, 1, 3)


def look_up(volume: torch.Tensor, disparity: torch.Tensor, *, reach: int) -> torch.Tensor:
    """Scores at disparity - reach .. disparity + reach, [B,G,2*reach+1,H,W], between bins linear, 0 beyond the ends.

    Args:
        volume: [B,G,D,H,W].
        disparity: [B,1,H,W] in bins.

    >>> look_up(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.5), reach=1).flatten()
    tensor([0.5000, 1.5000, 2.5000])
    """
    whole = disparity.floor()
    share = (disparity - whole)[:, None].to(volume.dtype)
    offsets = torch.arange(-reach, reach + 2, device=disparity.device)[None, :, None, None]
    index = whole.long() + offsets
    inside = ((index >= 0) & (index < volume.shape[2]))[:, None]
    index = index.clamp(0, volume.shape[2] - 1)[:, None].expand(-1, volume.shape[1], -1, -1, -1)
    taken = volume.gather(2, index) * inside.to(volume.dtype)
    return torch.lerp(taken[:, :, :-1], taken[:, :, 1:], share)


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1, kernel: int = 3) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _conv3d(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


def _check_images(left: torch.Tensor, right: torch.Tensor, stride: int) -> None:
    if left.shape != right.shape or left.ndim != 4 or left.shape[1] != 3:
        raise ValueError(f"left {tuple(left.shape)}, right {tuple(right.shape)}: both must be the same [B,3,H,W]")
    if left.shape[2] % stride or left.shape[3] % stride:
        raise ValueError(f"images are {left.shape[2]} x {left.shape[3]} px; pad them to multiples of {stride}")

"""A small flow network: a pyramid of features, warping, a local cost volume, and one decoder for all its levels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.warping import warp


class FlowNet(nn.Module):
    """Flow from a frame to another; 0.34 M parameters.

    At each level, coarse to fine, the second frame's features are sampled where the flow so far leads, compared with
    the first's in a square of ``reach`` entries around, and a decoder corrects the flow (PWC-Net, 2018). The decoder is
    the same at all levels (ARFlow, 2020): a motion of so many entries looks alike at each of them. A convex combination
    of neighbours brings the finest flow to full size (RAFT, 2020).

    Args:
        width: channels of what is compared at each level.
        reach: entries; a level finds motions of up to so many, which are 16, 8 and 4 px each.
    """

    stride, smallest = 16, 32

    def __init__(self, *, width: int = 32, reach: int = 3) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width is {width}; it must be a positive multiple of 8")
        if reach < 1:
            raise ValueError(f"reach is {reach}; it must be at least 1")
        self.reach = reach
        self.encoder = Pyramid(width)
        self.decoder = Decoder((2 * reach + 1) ** 2 + width + 4, 2 * width)
        self.sharpness = nn.Parameter(torch.tensor(20.0))
        self.caution = nn.Parameter(torch.tensor(0.5))
        self.upsampling = nn.Sequential(_conv(3 * width, 64), nn.Conv2d(64, 9 * 16, 1))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        """A list of one flow, float32 [B,2,H,W] in px, from ``first`` to ``second`` [B,3,H,W] in 0..1.

        H and W are multiples of 16.
        """
        check_frames(first, second, self.stride)
        # This layout makes convolutions faster on a CPU, and they keep it.
        pair = torch.cat([first, second]).contiguous(memory_format=torch.channels_last) - 0.5
        levels = [level.chunk(2) for level in self.encoder(pair)]
        batch, (height, width) = len(first), levels[-1][0].shape[-2:]
        flow = torch.zeros(batch, 2, height, width, device=first.device)
        hidden = torch.zeros(0)
        for number, (here, there) in enumerate(reversed(levels)):
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear")
                there = warp(there.float(), flow).to(there.dtype)
            costs = local_correlation(here, there, reach=self.reach)
            best = best_match(costs, reach=self.reach, sharpness=self.sharpness, caution=self.caution)
            change, hidden = self.decoder(torch.cat([costs, here, flow.to(here.dtype), best.to(here.dtype)], dim=1))
            flow = flow + best + change.float()
        return [upsample_flow(4 * flow, self.upsampling(torch.cat([hidden, levels[0][0]], dim=1)))]


class Pyramid(nn.Module):
    """Features [N,width,H/s,W/s] for s = 4, 8, 16 of images [N,3,H,W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = (width, 3 * width // 2, 2 * width)
        self.stem = _conv(3, width // 2, stride=2, kernel=5)
        sizes = (width // 2, *inner)
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(before, after, stride=2), _conv(after, after)) for before, after in zip(sizes, inner)
        )
        self.projections = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inner)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        features, levels = self.stem(images), []
        for stage, projection in zip(self.stages, self.projections):
            features = stage(features)
            level = projection(features)
            levels.append(level - level.mean(dim=(2, 3), keepdim=True))  # what all pixels share tells no match
        return levels


class Decoder(nn.Module):
    """From costs, features and flow [N,inputs,H,W]: its change [N,2,H,W] and what led to it [N,width,H,W]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter = _conv(inputs, width)
        self.body = nn.ModuleList(_conv(width, width, dilation=dilation) for dilation in (1, 2, 1))
        self.leave = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)  # at the start the best match alone moves the flow
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.enter(features)
        for layer in self.body:
            hidden = hidden + layer(hidden)
        return self.leave(hidden), hidden


def local_correlation(first: torch.Tensor, second: torch.Tensor, *, reach: int) -> torch.Tensor:
    """Cosine of ``first`` at x and ``second`` at x + d, for all d of a square: [B,(2 reach + 1)^2,H,W]; 0 outside.

    Features [B,C,H,W] are first divided by their length in all channels; d goes row by row.

    >>> first = torch.eye(4).view(1, 4, 1, 4)     # column k has a feature of its own
    >>> local_correlation(first, first.roll(1, -1), reach=1)[0, :, 0, 1].round().tolist()   # found one to the right
    [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    first, second = (F.normalize(side.float(), dim=1, eps=1e-4).to(side.dtype) for side in (first, second))
    height, width = first.shape[-2:]
    padded = F.pad(second, (reach,) * 4)
    shifts = range(2 * reach + 1)
    costs = [(first * padded[:, :, y : y + height, x : x + width]).sum(dim=1) for y in shifts for x in shifts]
    return torch.stack(costs, dim=1)


def best_match(
    costs: torch.Tensor, *, reach: int, sharpness: torch.Tensor | float, caution: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """The mean displacement d of `local_correlation`, weighted by how well it matches: [B,2,H,W], (x, y).

    The weights are softmax(sharpness costs - caution |d|^2): of equal matches the nearest, or where nothing matches
    better than anything else, next to no displacement.

    >>> costs = torch.zeros(1, 9, 1, 1)
    >>> costs[0, 5] = 1.0                        # the middle row's last: one to the right
    >>> best_match(costs, reach=1, sharpness=50.0).flatten().tolist()
    [1.0, 0.0]
    """
    offsets = torch.arange(-reach, reach + 1, device=costs.device, dtype=torch.float32)
    far = (offsets[:, None].square() + offsets.square()).view(-1, 1, 1)
    shares = (sharpness * costs.float() - caution * far).softmax(dim=1).unflatten(1, (len(offsets), len(offsets)))
    x = (shares.sum(dim=1) * offsets.view(-1, 1, 1)).sum(dim=1)
    y = (shares.sum(dim=2) * offsets.view(-1, 1, 1)).sum(dim=1)
    return torch.stack([x, y], dim=1)


def upsample_flow(flow: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``flow`` [B,2,H,W] to [B,2,4H,4W]: each pixel a convex combination of 3 x 3 neighbours (RAFT, 2020).

    Args:
        flow: in px of the full size.
        weights: [B,9*16,H,W] before the softmax over the nine.

    >>> upsample_flow(torch.full((1, 2, 2, 3), 5.0), torch.randn(1, 144, 2, 3)).round().unique().tolist()
    [5.0]
    """
    batch, _, height, width = flow.shape
    shares = weights.float().view(batch, 1, 9, 16, height, width).softmax(dim=2)
    around = F.unfold(F.pad(flow.float(), (1, 1, 1, 1), mode="replicate"), 3).view(batch, 2, 9, 1, height, width)
    return F.pixel_shuffle((shares * around).sum(dim=2).flatten(1, 2), 4)


def check_frames(first: torch.Tensor, second: torch.Tensor, stride: int) -> None:
    """Raise ValueError unless both are [B,3,H,W] of one size, a multiple of ``stride``."""
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3:
        raise ValueError(f"first {tuple(first.shape)}, second {tuple(second.shape)}: both must be the same [B,3,H,W]")
    if first.shape[2] % stride or first.shape[3] % stride:
        raise ValueError(f"frames are {first.shape[2]} x {first.shape[3]} px; pad them to multiples of {stride}")


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1, kernel: int = 3) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, nn.LeakyReLU(0.1, inplace=True))

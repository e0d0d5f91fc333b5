"""A small flow network: pictures are matched as they are, and what is learned is how to judge the matches."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.flow.patch_correlation import local_contrast, patch_correlation
from recipes.parts.flow.propagation import propagate
from recipes.parts.warping import warp

DILATIONS = (4, 2, 1)  # px, of the neighbours that a flow is carried over from, one after the other
FINE, COARSE = 1, 2  # levels: up to here the windows are small; from here on there is a residual


class FlowNet(nn.Module):
    """Flow from a frame to another; 0.18 M parameters, the same ones at all levels.

    At each level, coarse to fine, the second frame is sampled where the flow so far leads and compared with the first
    in a square of ``reach`` px around, by the correlation of patches (PWC-Net, 2018, has the scheme, with learned
    features). A network corrects these costs, says how sharply to choose, how far to trust the choice, and which pixels
    belong together; the choice is carried over among these. At coarse levels another one adds what no match tells.

    Nothing has to be learned before the first match, so training begins with a flow that is far better than none: at
    the start, on procedural cartoons, its error is 0.3 of no flow's. A network that has to learn its features first, on
    a loss that judges the flow alone, often learns that no flow is the safest one.

    Args:
        levels: the coarsest has a 2^(levels - 1)th of the size. A level finds motions of ``reach`` px of its own.
        context: channels of what is seen in the first frame.
        judge: channels of what judges the costs.
        residual: channels of what adds to the flow.
        likeness: learned numbers, beside the colours, that tell which pixels belong together.
    """

    smallest = 32

    def __init__(
        self,
        *,
        levels: int = 4,
        reach: int = 2,
        context: int = 24,
        judge: int = 32,
        residual: int = 80,
        likeness: int = 8,
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels is {levels}; it must be at least 1")
        self.levels, self.reach, self.stride = levels, reach, 2 ** (levels - 1)
        costs = (2 * reach + 1) ** 2
        self.context = nn.Sequential(_conv(6, context), _conv(context, context))
        self.judge = nn.Sequential(_conv(costs + context + 2, judge), nn.Conv2d(judge, costs + 2, 3, padding=1))
        self.likeness = nn.Conv2d(context, likeness, 1)
        self.residual = Residual(costs + context + 5, residual)
        for last in (self.judge[-1], self.likeness):
            nn.init.normal_(last.weight, std=1e-3)  # type: ignore[arg-type]  # at first the pictures alone judge
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        # What these start from was found by hand, on cartoons, as what matches best before anything is learned.
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(40.0)))
        self.log_caution = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_doubt = nn.Parameter(torch.tensor(math.log(0.3)))
        self.log_spread = nn.Parameter(torch.full((len(DILATIONS),), math.log(0.1)))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        """A list of one flow, float32 [B,2,H,W] in px, from ``first`` to ``second`` [B,3,H,W] in 0..1.

        H and W are multiples of ``stride``, 2^(levels - 1).
        """
        check_frames(first, second, self.stride)
        height, width = (side // self.stride for side in first.shape[-2:])
        flow = torch.zeros(len(first), 2, height, width, device=first.device)
        for level in reversed(range(self.levels)):
            if level + 1 < self.levels:
                flow = 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear")
            here, there = (F.avg_pool2d(frame.float(), 2**level) for frame in (first, second))
            flow = self._refined(flow, here, there, level)
        return [flow]

    def _refined(self, flow: torch.Tensor, first: torch.Tensor, second: torch.Tensor, level: int) -> torch.Tensor:
        costs = patch_correlation(first, warp(second, flow.detach(), border=True), reach=self.reach)
        context = self.context(torch.cat([first - 0.5, 4 * local_contrast(first)], dim=1))
        known = torch.cat([costs, context.float(), flow / 10], dim=1)
        correction, trust, sharpness = self.judge(known).float().split([costs.shape[1], 1, 1], dim=1)
        costs = costs * self.log_sharpness.exp() * _bounded(sharpness, 3.0).exp() + 10 * correction
        step, variance = best_match(costs, reach=self.reach, caution=self.log_caution.exp())
        confidence = _bounded(3 * trust, 6.0).exp() / (self.log_doubt.exp() + variance).square()
        alike = torch.cat([first, self.likeness(context).float()], dim=1)
        flow = flow + step
        for dilation, spread in zip(DILATIONS, self.log_spread.exp()):
            flow = propagate(
                flow, confidence, alike, spread=spread, window=3 if level <= FINE else 5, dilation=dilation
            )
        if level >= COARSE or level + 1 == self.levels:
            flow = flow + self.residual(torch.cat([known, step, confidence.log() / 5], dim=1)).float()
        return flow


class Residual(nn.Module):
    """A change of the flow [N,2,H,W] from all that is known [N,inputs,H,W]; next to none at the start."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter = _conv(inputs, width)
        self.body = nn.ModuleList(_conv(width, width, dilation=dilation) for dilation in (1, 2, 1))
        self.leave = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, known: torch.Tensor) -> torch.Tensor:
        hidden = self.enter(known)
        for layer in self.body:
            hidden = hidden + layer(hidden)
        return self.leave(hidden)


def best_match(
    scores: torch.Tensor, *, reach: int, caution: torch.Tensor | float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of d, [B,2,H,W] (x, y), under softmax(scores - caution |d|^2), and its variance [B,1,H,W].

    Of equal matches the nearest, or where nothing matches better than anything else, next to no displacement.

    Args:
        scores: [B,(2 reach + 1)^2,H,W], d row by row.

    >>> scores = torch.zeros(1, 9, 1, 1)
    >>> scores[0, 5] = 50.0                      # the middle row's last: one to the right
    >>> [part.flatten().tolist() for part in best_match(scores, reach=1)]
    [[1.0, 0.0], [0.0]]
    """
    offsets = torch.arange(-reach, reach + 1, device=scores.device, dtype=torch.float32).view(-1, 1, 1)
    distance = (offsets.view(-1, 1).square() + offsets.view(-1).square()).view(-1, 1, 1)
    shares = (scores.float() - caution * distance).softmax(dim=1)
    rows = shares.unflatten(1, (len(offsets), len(offsets)))
    step = torch.stack([(rows.sum(dim=axis) * offsets).sum(dim=1) for axis in (1, 2)], dim=1)
    variance = (shares * distance).sum(dim=1, keepdim=True) - step.square().sum(dim=1, keepdim=True)
    return step, variance.clamp_min(0)


def check_frames(first: torch.Tensor, second: torch.Tensor, stride: int) -> None:
    """Raise ValueError unless both are [B,3,H,W] of one size, a multiple of ``stride``."""
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3:
        raise ValueError(f"first {tuple(first.shape)}, second {tuple(second.shape)}: both must be the same [B,3,H,W]")
    if first.shape[2] % stride or first.shape[3] % stride:
        raise ValueError(f"frames are {first.shape[2]} x {first.shape[3]} px; pad them to multiples of {stride}")


def _bounded(values: torch.Tensor, limit: float) -> torch.Tensor:
    """About the same near 0, and never beyond +- ``limit``."""
    return limit * (values / limit).tanh()


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, nn.LeakyReLU(0.1, inplace=True))

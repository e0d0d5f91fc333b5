"""The network that makes markers of an H&E picture, with the scale of its targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from kornia.filters import sobel
from torch import nn

from recipes.parts.staining.channel_scaler import ChannelScaler
from recipes.parts.staining.stain_space import optical_density
from recipes.parts.staining.tiled_prediction import predict_in_tiles


class Staining(NamedTuple):
    """What was predicted for a batch, and what it is compared with.

    Attributes:
        markers: the prediction [B,C,H,W] in 0..1.
        truth: the measured markers [B,C,H,W], scaled to 0..1.
        valid: bool [B,1,H,W], the pixels that count.
        weights: what each channel counts [C]; 0 for blank ones.
    """

    markers: torch.Tensor
    truth: torch.Tensor
    valid: torch.Tensor
    weights: torch.Tensor


class VirtualStaining(nn.Module):
    """A network for pictures [B,3,H,W], or [B,4,H,W] with ``boundary_input``, and the scale of its targets.

    Args:
        network: gives logits [B,C,H,W].
        counted: which channels count.
        boundary_input: a fourth input, how steep the optical density of the picture is (Sobel).
    """

    def __init__(self, network: nn.Module, counted: Sequence[bool], *, boundary_input: bool = False):
        super().__init__()
        self.network, self.boundary_input = network, boundary_input
        self.scaler = ChannelScaler(counted)

    def forward(self, he: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> Staining:
        """Predict the markers of ``he`` [B,3,H,W] in 0..1, beside ``target`` [B,C,H,W] as stored."""
        return self.beside(self.markers(he), target, valid)

    def markers(self, he: torch.Tensor) -> torch.Tensor:
        """The markers [B,C,H,W] in 0..1 of ``he`` [B,3,H,W] in 0..1."""
        if self.boundary_input:
            edges = sobel(optical_density(he).mean(1, keepdim=True), normalized=True)
            he = torch.cat([he, edges], 1)
        logits: torch.Tensor = self.network(he)
        return logits.float().sigmoid()

    def beside(self, markers: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> Staining:
        """``markers`` beside the scaled truth."""
        return Staining(markers, self.scaler(target), valid, self.scaler.weights)

    def whole(self, he: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, tile: int, halo: int) -> Staining:
        """The same of pictures of any size, in overlapping tiles where they are larger than ``tile`` px."""
        stride: int = self.network.stride  # type: ignore[assignment]
        markers = predict_in_tiles(self.markers, he, tile=tile, halo=halo, stride=stride)
        return self.beside(markers, target, valid)

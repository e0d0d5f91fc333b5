"""Sets of 2D Gaussians for procedural pictures, made by construction."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from recipes.parts.gaussians.construction import construct_gaussians
from recipes.parts.gaussians.procedural_pictures import draw_pictures

CHUNK = 64  # pictures made at a time


class ProceduralGaussians(Dataset[dict[str, torch.Tensor]]):
    """``count`` sets of Gaussians, each of a procedural picture; made when first asked for, and kept.

    A sample has ``gaussians`` float32 [gaussians,8], as stored (`recipes.parts.gaussians.form`), of a picture of 64 px.
    Sample i is a function of (seed, i) alone. One takes 16 KiB and some milliseconds.

    >>> data = ProceduralGaussians(3, gaussians=64)
    >>> data[2]["gaussians"].shape
    torch.Size([64, 8])
    """

    SIDE = 64

    def __init__(self, count: int, *, gaussians: int = 512, seed: int = 0):
        self.count, self.gaussians, self.seed = count, gaussians, seed
        self._chunks: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        chunk, place = divmod(index, CHUNK)
        if chunk not in self._chunks:
            self._chunks[chunk] = construct_gaussians(self.pictures(chunk), self.gaussians)
        return {"gaussians": self._chunks[chunk][place]}

    def pictures(self, chunk: int) -> torch.Tensor:
        """The pictures [64,3,64,64] of samples 64 ``chunk`` and on."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + chunk)
        return draw_pictures(CHUNK, side=self.SIDE, generator=generator)

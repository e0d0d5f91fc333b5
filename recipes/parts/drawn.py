"""Data sets that are drawn, not read."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch.utils.data import Dataset


class DrawnDataset(Dataset[dict[str, torch.Tensor]], ABC):
    """``count`` samples, each drawn when asked for by `draw` from a generator of its own.

    Args:
        seed: with ``fixed``, sample i is a function of (seed, i) alone.
        fixed: for validation. Otherwise a sample is a function of the state of torch's global random generator,
            which the engine seeds from (seed, epoch, index) around each sample.
        kind: sets that differ in kind alone share no random numbers.
    """

    def __init__(self, count: int, *, seed: int = 0, fixed: bool = False, kind: int = 0) -> None:
        self.count, self.seed, self.fixed, self.kind = count, seed, fixed, kind

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        entropy = [self.seed, index] if self.fixed else [int(torch.randint(0, 2**31 - 1, ()))]
        return self.draw(np.random.default_rng([*entropy, self.kind]))

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """One sample."""

"""What the losses of an evaluation are on average."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ignition import distributed


class MeanLosses:
    """Means of loss terms over the samples of all processes; sums stay on the device until asked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the evaluation before."""
        self.sums: dict[str, torch.Tensor] = {}
        self.samples = 0

    def add(self, values: Mapping[str, torch.Tensor], samples: int) -> None:
        """Count in the means over a batch, 0-dim, by name."""
        for name, value in values.items():
            value = value.detach().double() * samples if value.device.type != "mps" else value.detach() * samples
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.samples += samples

    def compute(self) -> dict[str, float]:
        """The means; all processes ask."""
        names = sorted(set().union(*distributed.gather(list(self.sums))))
        samples = distributed.total(float(self.samples))
        return {name: distributed.total(float(self.sums.get(name, 0.0))) / max(samples, 1.0) for name in names}

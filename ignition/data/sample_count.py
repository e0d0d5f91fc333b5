"""How many samples a batch holds, whatever it is made of."""

from __future__ import annotations

from typing import Any

import torch


def count_samples(batch: Any) -> int:
    """The number of samples in a batch: the first dimension of its first tensor.

    >>> count_samples({"name": ["a", "b"], "image": torch.zeros(2, 3, 4, 4)})
    2
    """
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else 1
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        for item in batch:
            count = count_samples(item)
            if count:
                return count
    return 0

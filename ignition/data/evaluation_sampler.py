"""Evaluation batches: every sample once over all processes."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from ignition.data.sample_key import SampleKey


class EvaluationSampler(Sampler[list[SampleKey]]):
    """Every sample once over all processes, none twice: process ``rank`` takes every ``world_size``-th.

    >>> [[key.index for key in batch] for batch in EvaluationSampler(5, 2, rank=0, world_size=2)]
    [[0, 2], [4]]
    """

    def __init__(self, length: int, batch_size: int, *, rank: int = 0, world_size: int = 1):
        self.indices = range(rank, length, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, len(self.indices), self.batch_size):
            yield [SampleKey(0, index) for index in self.indices[first : first + self.batch_size]]

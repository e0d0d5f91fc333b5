"""Samples in an order that is a pure function of (seed, epoch), and loaders that can start anywhere in it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ignition.randomness import borrowed_generators, mix, seed_all


class SampleKey(NamedTuple):
    """What a loader asks a dataset for: the sample ``index`` as it looks in ``epoch``."""

    epoch: int
    index: int  # type: ignore[assignment]  # tuple.index, which nobody needs here


class BadSample(RuntimeError):
    """A sample could not be read or batched; says which one of which split. ``details`` has the traceback."""

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class _Failure:
    """A `BadSample` on its way out of a loader worker: exceptions lose their text there, values do not."""

    message: str
    details: str


class BatchSampler(Sampler[list[SampleKey]]):
    """Batches of sample keys; the order is a pure function of (seed, epoch), the start any batch.

    Each pass is the next epoch, if `seek` says nothing else; a resumed run has to say where it goes on.

    All processes compute the same batches and each takes every ``world_size``-th sample of each, so that a run sees
    the same batches on any number of processes. A last batch too small to give every process a sample is left out.

    Args:
        length: number of samples.
        batch_size: samples in a batch, over all processes.
        seed, shuffle: what the order is made of; without ``shuffle`` it is that of the dataset.
        rank, world_size: this process and how many there are.

    >>> sampler = BatchSampler(5, 2, shuffle=False)
    >>> [[key.index for key in batch] for batch in sampler]
    [[0, 1], [2, 3], [4]]
    >>> sampler.seek(epoch=1, batch=2)
    >>> list(sampler)
    [[SampleKey(epoch=1, index=4)]]
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int = 0, shuffle: bool = True, rank: int = 0, world_size: int = 1
    ):
        self.length, self.batch_size = length, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.batch_size)
        return whole + (rest >= self.world_size and rest > 0)

    def seek(self, *, epoch: int, batch: int = 0) -> None:
        """Let the next pass be that of ``epoch`` (from 0), from ``batch`` on. Reads no data."""
        self.epoch, self.start = epoch, batch

    def order(self, epoch: int) -> torch.Tensor:
        """The dataset indices of ``epoch`` in the order in which they are seen: int64 [length]."""
        if not self.shuffle:
            return torch.arange(self.length)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(self.length, generator=generator)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = self.epoch, self.order(self.epoch)
        for batch in range(self.start, len(self)):
            first = batch * self.batch_size
            mine = order[first + self.rank : first + self.batch_size : self.world_size]
            yield [SampleKey(epoch, index) for index in mine.tolist()]
        if self.epoch == epoch:  # else somebody has sought another place meanwhile
            self.epoch, self.start = epoch + 1, 0


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


class SeededDataset(Dataset[Any]):
    """A map-style dataset whose samples' own randomness is a pure function of (seed, epoch, index).

    Around each ``dataset[index]`` the generators of torch, numpy and python are seeded from that triple, so the same
    sample comes out in any worker, at any number of workers and after any resume.
    """

    def __init__(self, dataset: Dataset[Any] | Sequence[Any], *, seed: int = 0, split: str = "data"):
        self.dataset, self.seed, self.split = dataset, seed, split

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: SampleKey) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[SampleKey]) -> list[Any]:
        """A batch at once, as loaders ask for it: the generators are put back once and not for every sample."""
        with borrowed_generators():
            return [self._read(key) for key in keys]

    def _read(self, key: SampleKey) -> Any:
        epoch, index = key
        seed_all(mix(self.seed, epoch, index))
        try:
            return self.dataset[index]
        except Exception as error:
            words = str(error) or type(error).__name__
            return _Failure(f"sample {index} of the {self.split} data: {words}", traceback.format_exc())


class _Collate:
    """Samples to a batch, or the first failure among them. A class, so that workers can pickle it."""

    def __init__(self, collate: Callable[[list[Any]], Any], split: str):
        self.collate, self.split = collate, split

    def __call__(self, samples: list[Any]) -> Any:
        for sample in samples:
            if isinstance(sample, _Failure):
                return sample
        try:
            return self.collate(samples)
        except Exception as error:
            message = f"samples of the {self.split} data do not fit into one batch: {error}"
            return _Failure(message, traceback.format_exc())


class Loader:
    """A ``DataLoader`` over a `SeededDataset` that says which sample failed, in words, whatever worker read it.

    Args:
        dataset: map-style dataset; ``dataset[index]`` gives a sample.
        sampler: a `BatchSampler` or `EvaluationSampler`.
        seed: the run's seed, for the samples' own randomness.
        workers: loader processes; 0 reads in this process.
        collate: samples to batch; torch's ``default_collate`` if None.
        split: what messages call this data (``train``, ``val``).
        pin_memory: page-locked batches, so that the copy to a CUDA device does not wait.

    Raises:
        BadSample: while iterating.
        ValueError: the dataset is empty.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Sequence[Any],
        sampler: BatchSampler | EvaluationSampler,
        *,
        seed: int = 0,
        workers: int = 0,
        collate: Callable[[list[Any]], Any] | None = None,
        split: str = "data",
        pin_memory: bool = False,
    ):
        if len(dataset) == 0:  # type: ignore[arg-type]
            raise ValueError(f"the {split} data is empty: {describe(dataset)} has no samples")
        self.sampler, self.split = sampler, split
        self._dataset = SeededDataset(dataset, seed=seed, split=split)
        self._options: dict[str, Any] = {
            "num_workers": workers,
            "collate_fn": _Collate(collate or default_collate, split),
            "pin_memory": pin_memory,
            "persistent_workers": workers > 0,
        }
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        if self._loader is None:
            self._loader = DataLoader(self._dataset, batch_sampler=self.sampler, **self._options)
        for batch in self._loader:
            if isinstance(batch, _Failure):
                raise BadSample(batch.message, batch.details)
            yield batch

    def close(self) -> None:
        """End the workers; another pass would start new ones.

        Left to the garbage collector, which takes a cycle's queues before its workers, each would be waited for.
        """
        self._loader = None


def describe(dataset: object) -> str:
    """What a dataset is called in messages: its class, and its root where it has one."""
    root = getattr(dataset, "root", None)
    return type(dataset).__name__ + (f" at {root}" if root else "")


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

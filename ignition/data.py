"""Samples in an order that is a pure function of (seed, epoch), and loaders that can start anywhere in it."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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

    A sample that was blamed often enough (`blame`) is in quarantine from the next pass on: what was handed out of a
    pass, to loader workers too, is never called back, so a pass resumed in its middle is the one that was begun. In its
    place comes another sample, drawn from (seed, epoch, place); all others stay where they are.

    Args:
        length: number of samples.
        batch_size: samples in a batch, over all processes.
        seed, shuffle: what the order is made of; without ``shuffle`` it is that of the dataset.
        rank, world_size: this process and how many there are.
        blames: how often a sample is blamed until it is in quarantine.

    Attributes:
        blamed: how often each sample was.
        quarantine: samples that are left out, and the epoch from which on each is.

    Raises:
        BadSample: from `order`, and so while iterating: all samples are in quarantine.

    >>> sampler = BatchSampler(5, 2, shuffle=False)
    >>> [[key.index for key in batch] for batch in sampler]
    [[0, 1], [2, 3], [4]]
    >>> sampler.seek(epoch=1, batch=2)
    >>> list(sampler)
    [[SampleKey(epoch=1, index=4)]]
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        blames: int = 2,
    ):
        if blames < 1:
            raise ValueError(f"blames is {blames}; it must be at least 1")
        self.length, self.batch_size = length, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0
        self.blames = blames
        self.blamed: dict[int, int] = {}
        self.quarantine: dict[int, int] = {}
        self._untouched = 0  # the first epoch of which no batch was handed out

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.batch_size)
        return whole + (rest >= self.world_size and rest > 0)

    def seek(self, *, epoch: int, batch: int = 0) -> None:
        """Let the next pass be that of ``epoch`` (from 0), from ``batch`` on. Reads no data."""
        self.epoch, self.start = epoch, batch
        self._untouched = epoch if batch == 0 else epoch + 1

    def order(self, epoch: int) -> torch.Tensor:
        """The dataset indices of ``epoch`` in the order in which they are seen: int64 [length]."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            order = torch.randperm(self.length, generator=generator)
        else:
            order = torch.arange(self.length)
        left_out = {index for index, since in self.quarantine.items() if since <= epoch}
        if left_out:
            for place in torch.isin(order, torch.tensor(list(left_out))).nonzero().flatten().tolist():
                order[place] = self._instead(epoch, place, left_out)
        return order

    def _instead(self, epoch: int, place: int, left_out: Collection[int]) -> int:
        """Which sample comes in this place of the order, where one in quarantine would have come."""
        if len(left_out) == self.length:
            raise BadSample(f"all {self.length} samples are in quarantine: look at the data, or at what blames it")
        drawn = (mix(self.seed, epoch, place, draw) % self.length for draw in itertools.count())
        return next(index for index in drawn if index not in left_out)

    def indices(self, epoch: int, batch: int) -> list[int]:
        """The dataset indices in ``batch`` of ``epoch`` (both from 0) over all processes, as it was or will be.

        Raises:
            ValueError: an epoch has fewer batches.
        """
        if not 0 <= batch < len(self):
            raise ValueError(f"batch is {batch}; an epoch has {len(self)}, numbered from 0")
        return self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = self.epoch, self.order(self.epoch)
        self._untouched = epoch + 1
        for batch in range(self.start, len(self)):
            first = batch * self.batch_size
            mine = order[first + self.rank : first + self.batch_size : self.world_size]
            yield [SampleKey(epoch, index) for index in mine.tolist()]
        if self.epoch == epoch:  # else somebody has sought another place meanwhile
            self.epoch, self.start = epoch + 1, 0

    def blame(self, indices: Iterable[int]) -> list[int]:
        """Count one blame for each of these samples, on every process alike; gives those that are left out for it.

        >>> sampler = BatchSampler(4, 2, shuffle=False, blames=1)
        >>> sampler.blame([2])
        [2]
        >>> [[key.index for key in batch] for batch in sampler]
        [[0, 1], [1, 3]]

        Raises:
            ValueError: there is no such sample.
        """
        samples = sorted({int(index) for index in indices})
        self._check(samples)
        self.blamed.update({index: self.blamed.get(index, 0) + 1 for index in samples})
        guilty = [index for index in samples if self.blamed[index] >= self.blames and index not in self.quarantine]
        self.quarantine.update(dict.fromkeys(guilty, self._untouched))
        return guilty

    def _check(self, samples: Iterable[int]) -> None:
        foreign = [index for index in samples if not 0 <= index < self.length]
        if foreign:
            raise ValueError(f"there is no sample {foreign[0]}: the data has {self.length}, numbered from 0")

    def state_dict(self) -> dict[str, list[list[int]]]:
        """Who was blamed and who is left out, the same on all processes. Where the run stands, `seek` says."""
        return {"blamed": list(map(list, self.blamed.items())), "quarantine": list(map(list, self.quarantine.items()))}

    def load_state_dict(self, state: Mapping[str, Iterable[Sequence[int]]]) -> None:
        """Go on counting, and leaving out.

        Raises:
            ValueError: the data has fewer samples than it had.
        """
        blamed, quarantine = ({index: number for index, number in state[name]} for name in ("blamed", "quarantine"))
        self._check([*blamed, *quarantine])
        self.blamed, self.quarantine = blamed, quarantine


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

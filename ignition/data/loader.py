"""Batches of a dataset, and in words what went wrong with which sample."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, default_collate

from ignition.data.bad_sample import BadSample, Failure
from ignition.data.batch_sampler import BatchSampler
from ignition.data.evaluation_sampler import EvaluationSampler
from ignition.data.seeded_dataset import Replaced, SeededDataset
from ignition.data.skipped_samples import SkippedSamples
from ignition.data.worker_pool import WorkerPool


class _Partial(NamedTuple):
    """A batch without samples that could not be read, or with others in their place; None where none is left."""

    batch: Any
    failures: tuple[Failure, ...]


class _Collate:
    """Samples to a batch, or the first failure among them. A class, so that workers can pickle it.

    With ``skip`` samples that cannot be read are no failure of the batch.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], split: str, *, skip: bool = False):
        self.collate, self.split, self.skip = collate, split, skip

    def __call__(self, read: list[Any]) -> Any:
        samples: list[Any] = []
        failures: list[Failure] = []
        for item in read:
            if isinstance(item, Failure):
                if not (self.skip and item.unreadable):
                    return item
                failures.append(item)
            elif isinstance(item, Replaced):
                samples.append(item.sample)
                failures += item.failures
            else:
                samples.append(item)
        if not samples:
            return _Partial(None, tuple(failures))
        try:
            batch = self.collate(samples)
        except Exception as error:
            message = f"samples of the {self.split} data do not fit into one batch: {error}"
            return Failure(message, traceback.format_exc())
        return _Partial(batch, tuple(failures)) if failures else batch


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
        timeout_seconds: how long loader processes may take over a batch; 0: for ever.
        skipped: goes on without samples that raise `ValueError` or `OSError`, and counts them there; None: the first
            one ends it. Where they are left out, a batch of which no sample can be read is missing: ``len`` is then the
            most there can be.

    Raises:
        BadSample: while iterating; `LostWorker` where it was a loader process and not a sample.
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
        timeout_seconds: float = 300.0,
        skipped: SkippedSamples | None = None,
    ):
        if len(dataset) == 0:  # type: ignore[arg-type]
            raise ValueError(f"the {split} data is empty: {describe(dataset)} has no samples")
        self.sampler, self.split, self.skipped = sampler, split, skipped
        replace, leave_out = (skipped is not None and skipped.replace is way for way in (True, False))
        self._dataset = SeededDataset(dataset, seed=seed, split=split, replace=replace)
        batches = _Collate(collate or default_collate, split, skip=leave_out)
        self._loader: WorkerPool | DataLoader[Any]
        if workers:
            self._loader = WorkerPool(self._dataset, sampler, workers=workers, collate=batches, split=split,
                                      pin_memory=pin_memory, timeout_seconds=timeout_seconds)  # fmt: skip
        else:
            self._loader = DataLoader(self._dataset, batch_sampler=sampler, collate_fn=batches, pin_memory=pin_memory)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        if self.skipped is not None:
            self.skipped.begin()
        count = 0
        for batch in self._loader:
            if isinstance(batch, Failure):
                raise BadSample(batch.message, batch.details)
            if isinstance(batch, _Partial):
                assert self.skipped is not None
                self.skipped.note(batch.failures)
                batch = batch.batch
                if batch is None:
                    continue
            count += 1
            yield batch
        if self.skipped is not None and self.skipped.passed and not count:
            raise BadSample(f"none of the samples of the {self.split} data can be read; the warnings name them")

    def close(self) -> None:
        """End the workers; another pass would start new ones.

        Left to the garbage collector, which takes a cycle's queues before its workers, each would be waited for.
        """
        if isinstance(self._loader, WorkerPool):
            self._loader.close()


def describe(dataset: object) -> str:
    """What a dataset is called in messages: its class, and its root where it has one."""
    root = getattr(dataset, "root", None)
    return type(dataset).__name__ + (f" at {root}" if root else "")

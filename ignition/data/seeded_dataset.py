"""A dataset whose samples' own randomness depends on their place in the run alone."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, get_worker_info

from ignition.data.bad_sample import Failure
from ignition.data.sample_key import SampleKey
from ignition.randomness import borrowed_generators, mix, seed_all

IN_A_ROW = 10  # samples; so many unreadable ones in one place are no accident: with a tenth of them bad, one in 10^10


@dataclass(frozen=True)
class Replaced:
    """A sample that came in the place of others, and why these could not be read."""

    sample: Any
    failures: tuple[Failure, ...]


class SeededDataset(Dataset[Any]):
    """A map-style dataset whose samples' own randomness is a pure function of (seed, epoch, index).

    Around each ``dataset[index]`` the generators of torch, numpy and python are seeded from that triple, so the same
    sample comes out in any worker, at any number of workers and after any resume.

    A sample that cannot be read is a `Failure`. With ``replace`` it is a `Replaced`: in its place comes another one of
    the same epoch, drawn from (seed, epoch, index) as well, so that no process or worker has to know of any other.

    Attributes:
        reading: shared with loader processes: the sample that each is reading, -1 where it reads none.
    """

    def __init__(
        self, dataset: Dataset[Any] | Sequence[Any], *, seed: int = 0, split: str = "data", replace: bool = False
    ):
        self.dataset, self.seed, self.split, self.replace = dataset, seed, split, replace
        self.reading: Any = None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: SampleKey) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[SampleKey]) -> list[Any]:
        """A batch at once, as loaders ask for it: the generators are put back once and not for every sample."""
        read = self._read_or_replace if self.replace else self._read
        with borrowed_generators():
            samples = [read(key) for key in keys]
        self._note(-1)
        return samples

    def _note(self, index: int) -> None:
        """What this loader process is reading, for who has to say what it died of."""
        worker = get_worker_info() if self.reading is not None else None
        if worker is not None:
            self.reading[worker.id] = index

    def _read(self, key: SampleKey) -> Any:
        epoch, index, _ = key
        self._note(index)
        seed_all(mix(self.seed, epoch, index))
        try:
            return self.dataset[index]
        except Exception as error:
            words = str(error) or type(error).__name__
            message = f"sample {index} of the {self.split} data: {words}"
            return Failure(message, traceback.format_exc(), index, isinstance(error, (ValueError, OSError)))

    def _read_or_replace(self, key: SampleKey) -> Any:
        failures: list[Failure] = []
        for candidate in itertools.islice(self._candidates(key), IN_A_ROW):
            sample = self._read(candidate)
            if not isinstance(sample, Failure):
                return Replaced(sample, tuple(failures)) if failures else sample
            if not sample.unreadable:
                return sample
            failures.append(sample)
        last = failures[-1]
        return Failure(f"{last.message} ({IN_A_ROW} samples in a row cannot be read)", last.details)

    def _candidates(self, key: SampleKey) -> Iterator[SampleKey]:
        """The sample itself, then others that might come in its place."""
        yield key
        for draw in itertools.count():
            index = mix(self.seed, key.epoch, key.index, draw) % len(self)
            if index not in key.avoid:
                yield key._replace(index=index)

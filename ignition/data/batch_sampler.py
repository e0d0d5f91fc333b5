"""Training batches in an order that is a pure function of (seed, epoch) and can begin anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import torch
from torch.utils.data import Sampler

from ignition.data.bad_sample import BadSample
from ignition.data.sample_key import SampleKey
from ignition.randomness import mix


class BatchSampler(Sampler[list[SampleKey]]):
    """Batches of sample keys; the order is a pure function of (seed, epoch), the start any batch.

    Each pass is the next epoch, if `seek` says nothing else; a resumed run has to say where it goes on.

    All processes compute the same batches and each takes every ``world_size``-th sample of each, so that a run sees
    the same batches on any number of processes. Where a last batch is too small to give every process a sample, those
    without one are lent one of it, so that all take part in the step: what is lent counts nothing (`is_lent`).

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
    >>> [[(key.epoch, key.index) for key in batch] for batch in sampler]
    [[(1, 4)]]
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
        return -(-self.length // self.batch_size)

    def is_lent(self, batch: int) -> bool:
        """Whether what this process has of ``batch`` (from 0) is another's, for want of a sample of its own."""
        return self.rank >= min(self.batch_size, self.length - batch * self.batch_size)

    @property
    def smallest(self) -> int:
        """How many samples the smallest share of a batch has that any process gets, lent ones counted.

        >>> BatchSampler(9, 4).smallest, BatchSampler(9, 4, world_size=2).smallest, BatchSampler(8, 4).smallest
        (1, 1, 4)
        """
        whole, rest = divmod(self.length, self.batch_size)
        sizes = [self.batch_size] * (whole > 0) + [rest] * (rest > 0)
        return min((max(1, size // self.world_size) for size in sizes), default=0)

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
        left_out = self.left_out(epoch)
        if left_out:
            for place in torch.isin(order, torch.tensor(list(left_out))).nonzero().flatten().tolist():
                order[place] = self._instead(epoch, place, left_out)
        return order

    def left_out(self, epoch: int) -> frozenset[int]:
        """The samples in quarantine that ``epoch`` goes without."""
        return frozenset(index for index, since in self.quarantine.items() if since <= epoch)

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
        epoch, order, left_out = self.epoch, self.order(self.epoch), self.left_out(self.epoch)
        self._untouched = epoch + 1
        for batch in range(self.start, len(self)):
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            mine = whole[self.rank % len(whole) :: self.world_size]
            yield [SampleKey(epoch, index, left_out) for index in mine.tolist()]
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

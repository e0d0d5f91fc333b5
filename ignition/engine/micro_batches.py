"""Batches that do not fit into memory, done a few samples at a time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch

from ignition import distributed
from ignition.data import count_samples

log = logging.getLogger(__name__)

Policy = Literal["split", "raise"]

# What allocators say where they raise nothing more telling than a RuntimeError.
_WORDS = (
    "out of memory",  # CUDA, MPS, XPU
    "can't allocate memory",  # torch on the CPU
    "not enough memory",  # the same on Windows
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_ANY_SIZE = 2**31  # larger than any batch
ELSEWHERE = "on another process"


class OutOfMemory(RuntimeError):
    """Memory is too small, and no smaller piece of the batch can be tried. Says what to do."""


class CannotSplit(ValueError):
    """Something of a batch or of a model's outputs cannot be told to belong to single samples; says what."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory was too small, on whatever device.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def is_too_few(error: BaseException) -> bool:
    """Whether ``error`` says that batch normalisation has too few samples to train on."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)


class MicroBatches:
    """How many samples go through a model at once: all of a batch, or fewer once a batch was too large.

    After a failure half as many are tried, then half of that, down to one sample. It stays so, since a run that has
    run out of memory once will do so again.

    Args:
        size: samples at once, on each process; None: all of a batch.
        policy: ``split`` a batch that is too large, or ``raise``.
        setting: what a warning tells to set, so that the next run begins so.

    Attributes:
        failures: how often memory was too small.

    >>> micro = MicroBatches()
    >>> micro.settle(5, "CUDA out of memory"), micro.size, micro.settle(5), micro.failures
    (True, 3, False, 1)
    >>> [len(piece["x"]) for piece in micro.pieces({"x": torch.zeros(5, 3)})]
    [2, 3]
    """

    def __init__(self, size: int | None = None, *, policy: Policy = "split", setting: str = "trainer.micro_batch"):
        if size is not None and size < 1:
            raise ValueError(f"size is {size}; it counts samples, so it must be at least 1")
        if policy not in ("split", "raise"):
            raise ValueError(f"policy is {policy!r}; it can be 'split' or 'raise'")
        self.size, self.policy, self.setting = size, policy, setting
        self.failures = 0
        self._given = size
        self._lower = "data.batch_size" if setting == "trainer.micro_batch" else setting
        self._cause = ""  # of a failure that has not been told

    def catches(self, error: BaseException) -> bool:
        """Whether ``error`` is one that a smaller piece may help against."""
        return self.policy == "split" and is_out_of_memory(error)

    def pieces(self, batch: Any) -> list[Any]:
        """The batch itself, or pieces of it with at most ``size`` samples each.

        Raises:
            OutOfMemory: it is too large, and cannot be split.
        """
        if self.size is None or count_samples(batch) <= self.size:
            return [batch]
        try:
            return split(batch, self.size)
        except CannotSplit as error:
            raise self._no_way_out(f"cannot be split: {error}") from error

    def whole(self, outputs: Sequence[Any], sizes: Sequence[int]) -> Any:
        """What a model gave for pieces of so many samples, put together.

        Raises:
            OutOfMemory: it cannot be.
        """
        try:
            return join(outputs, sizes)
        except CannotSplit as error:
            raise self._no_way_out(f"what the model gives for pieces of it cannot be put together: {error}") from error

    def settle(self, samples: int, failure: str = "", *, together: bool = False) -> bool:
        """Whether memory was too small; then half as many samples are tried from now on.

        Args:
            samples: how many the largest batch had.
            failure: what was said when memory was too small; empty where it was not.
            together: all processes ask, and get one answer and one size.

        Raises:
            OutOfMemory: a single sample was too large.
        """
        tried = min(samples, self.size or samples)
        size, hopeless = self.size, bool(failure) and tried <= 1
        if failure and not hopeless:
            size = (tried + 1) // 2
        failed = bool(failure)
        if together:
            own = self.failures
            answer, lowest, self.failures = distributed.highest(
                [2 if hopeless else int(failed), -(size or _ANY_SIZE), self.failures]
            )
            failed, hopeless = answer > 0, answer == 2
            size = -lowest if -lowest < _ANY_SIZE else None
            if self.failures > own:  # one that had begun again by itself
                self._cause = ELSEWHERE
        self.size = size
        if not failed:
            return False
        self.failures += 1
        self._cause = failure or ELSEWHERE
        gc.collect()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if hopeless:
            raise self._no_way_out("has been tried one sample at a time")
        return True

    def refuse_too_few(self, error: BaseException) -> None:
        """Say so where a piece has become too small for batch normalisation.

        Raises:
            OutOfMemory: that is what ``error`` says.
        """
        if self.size is not None and is_too_few(error):
            raise self._no_way_out(f"pieces of {self.size} are too small for its batch normalisation") from error

    def _no_way_out(self, why: str) -> OutOfMemory:
        cause = f" ({first_sentences(self._cause)})" if self._cause else ""
        return OutOfMemory(
            f"a batch does not fit into memory{cause}, and {why}. Make samples or model smaller, compute in 16 bits "
            f"(trainer.amp=auto), or set {self._lower} lower"
        )

    def tell(self, where: str, note: str = "") -> None:
        """Say once what was done, and the setting with which a run begins so."""
        if self._cause and distributed.rank() == 0:
            log.warning(
                "%s: a batch did not fit into memory (%s); from here on %d samples at a time go through the model%s. "
                "To begin so: %s=%d",
                where, first_sentences(self._cause), self.size, note, self.setting, self.size,
            )  # fmt: skip
        self._cause = ""

    @property
    def untold(self) -> bool:
        """Whether there is something to `tell`."""
        return self._cause != ""

    def state_dict(self) -> dict[str, int | None]:
        """How many samples at once, what was asked for, and how often memory was too small."""
        return {"size": self.size, "given": self._given, "failures": self.failures}

    def load_state_dict(self, state: Mapping[str, int | None]) -> None:
        """Go on as before, unless another size has been asked for since."""
        self.failures = state["failures"] or 0
        if state["given"] == self._given:
            self.size = state["size"]


def first_sentences(text: str) -> str:
    """The first sentences of what an allocator says, which may go on for long.

    >>> first_sentences("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.8 GiB")
    'CUDA out of memory. Tried to allocate 2.00 GiB'
    """
    line = text.strip().partition("\n")[0]
    parts = line.split(". ")
    return ". ".join(parts[:2]).rstrip(".") or "the allocator does not say how much"


# ----------------------------------------------------------------------------------------------- splitting, joining


BATCH = "the batch"


def split(batch: Any, size: int) -> list[Any]:
    """Pieces of ``batch`` of ``size`` samples at most, all nearly of one size, made of views where it can be.

    Tensors and arrays are cut along their first dimension, which is the samples', and lists of as many items as there
    are samples likewise; numbers, words and tensors without dimensions are the same in all pieces.

    Raises:
        CannotSplit: something has another first dimension, or could be cut in two ways.

    >>> split({"x": torch.arange(3), "names": ["a", "b", "c"], "scale": 2.0}, 2)
    [{'x': tensor([0]), 'names': ['a'], 'scale': 2.0}, {'x': tensor([1, 2]), 'names': ['b', 'c'], 'scale': 2.0}]
    """
    samples = count_samples(batch)
    count = -(-samples // size)
    ends = [samples * number // count for number in range(count + 1)]  # of nearly equal sizes: one sample is too few
    return [_cut(batch, slice(first, end), samples, BATCH) for first, end in pairwise(ends)]  # for batch normalisation


def _cut(value: Any, piece: slice, samples: int, name: str) -> Any:
    if hasattr(value, "shape") and hasattr(value, "ndim"):
        if value.ndim == 0:
            return value
        if value.shape[0] != samples:
            raise CannotSplit(f"{name} has shape {list(value.shape)}, and there are {samples} samples")
        return value[piece]
    if isinstance(value, dict):
        return {key: _cut(item, piece, samples, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if not _is_structure([value], [samples], name):
            return value[piece]
        items = [_cut(item, piece, samples, f"{name}[{place}]") for place, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def join(pieces: Sequence[Any], sizes: Sequence[int]) -> Any:
    """What a model gave for the pieces of a batch, as if it had been the whole.

    Args:
        pieces: of equal structure.
        sizes: how many samples each holds.

    Raises:
        CannotSplit: something is neither of each sample nor the same for all.

    >>> join([{"y": torch.tensor([1, 2])}, {"y": torch.tensor([3])}], [2, 1])
    {'y': tensor([1, 2, 3])}
    """
    return _joined(list(pieces), list(sizes), "the output")


def _joined(values: list[Any], sizes: list[int], name: str) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        if any(value.ndim == 0 or len(value) != size for value, size in zip(values, sizes, strict=True)):
            raise CannotSplit(f"{name} has shape {list(first.shape)} for {sizes[0]} samples")
        if any(value.shape[1:] != first.shape[1:] for value in values):
            raise CannotSplit(f"{name} has another shape for other samples, {list(first.shape)} here")
        return torch.cat(values)
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values], sizes, f"{name}[{key!r}]") for key in first}
    if isinstance(first, (list, tuple)):
        if not _is_structure(values, sizes, name):
            return type(first)(item for value in values for item in value)
        items = [_joined(list(place), sizes, f"{name}[{number}]") for number, place in enumerate(zip(*values))]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if all(value == first for value in values):
        return first
    raise CannotSplit(f"{name} is a {type(first).__name__} that differs from samples to samples")


def _is_structure(values: list[Any], sizes: list[int], name: str) -> bool:
    """Whether lists (or tuples) hold several things of all samples each, and not one thing of each sample.

    Raises:
        CannotSplit: it could be either.
    """
    one_each = all(len(value) == size for value, size in zip(values, sizes, strict=True))
    arrays = [(item, size) for value, size in zip(values, sizes) for item in value if getattr(item, "ndim", 0)]
    of_all = bool(arrays) and all(item.shape[0] == size for item, size in arrays)
    if one_each and of_all and isinstance(values[0], list) and name != BATCH:
        raise CannotSplit(f"{name} is a list of {len(values[0])} tensors, of each sample or of all")
    return of_all or not one_each

"""Loader processes that are watched: one that dies is replaced once, one that gives no sign ends the run by name."""

from __future__ import annotations

import ctypes
import itertools
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Sampler

from ignition.data.bad_sample import BadSample
from ignition.data.batch_sampler import BatchSampler
from ignition.data.seeded_dataset import SeededDataset

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0  # while a batch is waited for

_USUALLY = {
    signal.SIGKILL: "usually by the kernel, since memory is short (`dmesg` tells)",
    signal.SIGBUS: "usually since /dev/shm is full (docker gives 64 MiB; `--shm-size=8g` gives more)",
    signal.SIGSEGV: "by a fault in a library that reads samples",
}


class LostWorker(BadSample):
    """A loader process has died, or gives no sign of life. Says which sample it was reading."""


class _Died(Exception):
    """Some loader processes have; says in words how, and at which samples."""


class WorkerPool:
    """Batches of ``dataset``, read by processes of its own.

    Where one of them dies, all are replaced and go on with the batch that was due: since samples and their random
    numbers depend on their place alone, nothing is lost, comes twice or looks different. Once in a pass; whatever kills
    a second one would kill a third.

    Args:
        dataset, sampler: what is read, and in which batches.
        workers: how many processes.
        collate: samples to batch.
        split: what messages call this data.
        pin_memory: page-locked batches.
        timeout_seconds: how long a batch is waited for; 0: for ever.

    Raises:
        LostWorker: while iterating.
    """

    def __init__(
        self,
        dataset: SeededDataset,
        sampler: Sampler[Any],
        *,
        workers: int,
        collate: Callable[[list[Any]], Any],
        split: str,
        pin_memory: bool = False,
        timeout_seconds: float = 300.0,
    ):
        self.dataset, self.sampler, self.split = dataset, sampler, split
        self.timeout_seconds = timeout_seconds
        self._options: dict[str, Any] = {"num_workers": workers, "collate_fn": collate, "pin_memory": pin_memory}
        self._loader: DataLoader[Any] | None = None
        self._iterator: Any = None

    def __iter__(self) -> Iterator[Any]:
        place = (self.sampler.epoch, self.sampler.start) if isinstance(self.sampler, BatchSampler) else None
        died = delivered = 0
        self._begin(place)
        while True:
            try:
                batch = self._next()
            except StopIteration:
                break
            except _Died as error:
                died += 1
                self._kill()
                if died > 1:
                    raise LostWorker(
                        f"{error}, the second time in one pass over the data: lower data.workers or data.batch_size; "
                        "data.workers=0 reads without further processes"
                    ) from None
                log.warning("%s; new ones go on with the same batch", error)
                self._start(place, skip=delivered)
                continue
            delivered += 1
            yield batch
        if died:
            self.close()  # they know of the rest of this pass alone

    def close(self) -> None:
        """End the processes; another pass starts new ones."""
        self._loader = self._iterator = None

    def _kill(self) -> None:
        """End them at once: one that hangs would be waited for."""
        for worker in self._iterator._workers:
            worker.kill()
        for worker in self._iterator._workers:
            worker.join(LOOK_EVERY_SECONDS)
        self.close()

    def _begin(self, place: tuple[int, int] | None) -> None:
        """A pass, with the processes of the one before where there are some."""
        if self._loader is not None:
            try:
                self._iterator = iter(self._loader)
                return
            except Exception as error:  # one has died meanwhile, or is still busy with a pass that was broken off
                log.info("new loader processes for the %s data: %s", self.split, error)
                self._kill()
        self._start(place)

    def _start(self, place: tuple[int, int] | None, *, skip: int = 0) -> None:
        """New processes, for a pass that began at ``place``, without its first batches."""
        if place is not None:
            self.sampler.seek(epoch=place[0], batch=place[1])  # type: ignore[attr-defined]
        self.dataset.reading = multiprocessing.RawArray(ctypes.c_int64, [-1] * self._options["num_workers"])
        self._loader = DataLoader(
            self.dataset,
            batch_sampler=_Rest(self.sampler, skip) if skip else self.sampler,
            persistent_workers=True,
            timeout=LOOK_EVERY_SECONDS,
            **self._options,
        )
        with _own_signal_handler():
            self._iterator = iter(self._loader)

    def _next(self) -> Any:
        """The next batch.

        Raises:
            StopIteration: there is none.
            _Died: a process has died.
            LostWorker: none has, and the batch does not come.
        """
        began = time.monotonic()
        while True:
            try:
                return next(self._iterator)
            except StopIteration:
                raise
            except Exception as error:
                how = self._who_died(wait="timed out" not in str(error))
                if how:
                    raise _Died(how) from None
                if "timed out" not in str(error):
                    raise
            if self.timeout_seconds and time.monotonic() - began >= self.timeout_seconds:
                busy = self._being_read()
                self._kill()
                raise LostWorker(
                    f"the loader processes of the {self.split} data have given no batch for {self.timeout_seconds:g} s"
                    f" ({busy}): see whether that sample can be read and the disk answers. Where samples do take so "
                    "long, raise data.timeout_seconds"
                )

    def _who_died(self, *, wait: bool) -> str:
        """In words, which processes have died and how; empty if none has. One that is dying is waited for."""
        end = time.monotonic() + (1.0 if wait else 0.0)
        while True:
            dead = [(place, worker) for place, worker in enumerate(self._iterator._workers) if not worker.is_alive()]
            if dead or time.monotonic() >= end:
                break
            time.sleep(0.01)
        told = []
        for place, worker in dead:
            index = self.dataset.reading[place] if self.dataset.reading is not None else -1
            doing = f" while it read sample {index}" if index >= 0 else ""
            told.append(f"a loader process of the {self.split} data {_ended(worker.exitcode)}{doing}")
        return ", ".join(told)

    def _being_read(self) -> str:
        samples = [str(index) for index in self.dataset.reading or () if index >= 0]
        return f"being read: sample {' and '.join(samples)}" if samples else "none is reading a sample"


def _ended(code: int | None) -> str:
    """How a process ended, by its exit code."""
    if code is None or code >= 0:
        return f"ended by itself (exit code {code})"
    number = signal.Signals(-code)
    why = _USUALLY.get(number)
    return f"was killed by {number.name}" + (f", {why}," if why else "")


class _Rest:
    """What a sampler gives after its first batches."""

    def __init__(self, sampler: Any, skip: int):
        self.sampler, self.skip = sampler, skip

    def __len__(self) -> int:
        return max(len(self.sampler) - self.skip, 0)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.sampler, self.skip, None)


@contextmanager
def _own_signal_handler() -> Iterator[None]:
    """Within, torch sets a handler for SIGCHLD, which does not stay.

    It raises an exception in whatever the main thread is at when a process dies, in the middle of an optimizer's step
    for instance. Processes that have died are found here where their batch is waited for.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    kept = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGCHLD) is not kept:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if kept is None else kept)

"""How fast a run trains, what it waits for, and what it needs."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, TypeVar

import torch
from ignite.engine import Engine, Events

from ignition import distributed
from ignition.data import count_samples

Row = dict[str, Any]
Batch = TypeVar("Batch")


class Throughput:
    """Writes a row with the speed of training every so many iterations.

    A row has, besides ``iteration`` and ``epoch``, of the iterations since the row before:

    - ``train/samples_per_second``: over all processes, at the pace of the slowest.
    - ``train/data_wait_share``: share of the time, 0..1, in which training waited for the loader.
    - ``train/step_ms_p50``, ``train/step_ms_p95``: milliseconds of an iteration with its wait for the loader, on
      process 0 as the host sees them. Where nothing reads the device at each step (`NonFiniteSteps` does), a host runs
      ahead of a GPU and single iterations look shorter than they are; samples per second are right all the same.
    - ``train/memory_gib``: the peak since the process began: CUDA memory allocated, else the process's resident set.
    - ``train/mfu``: share of the device's peak that the model's arithmetic makes use of (Chowdhery et al., PaLM, 2022),
      where ``flops_per_sample`` and ``peak_flops`` are given.

    Time counts from asking for a batch until this handler is called at the iteration's end, so attach it after what
    belongs to training and before what evaluates or saves. What happens after it, or at the end of an epoch, does not
    count. It waits for the device at the end of each row's iterations and at the end of each epoch, so that work still
    queued there is not taken for done, and never in between.

    Args:
        write: takes a row, on process 0; for instance ``MetricsLog.write``.
        every: a row is written at each iteration that is a multiple of this.
        warmup: iterations after each start, or resume, that are left out: compiling and caches.
        flops_per_sample: floating-point operations of a sample's forward and backward pass.
        peak_flops: operations a second that one device can do in the type used, as its data sheet has it.

    Attributes:
        last: the newest row.

    >>> throughput = Throughput(print, every=50)
    >>> for batch in throughput.over([torch.ones(8, 2)] * 50):
    ...     loss = batch.square().mean()  # doctest: +ELLIPSIS
    {'iteration': 50, 'epoch': 1, 'train/samples_per_second': ..., 'train/memory_gib': ...}
    """

    def __init__(
        self,
        write: Callable[[Row], object],
        *,
        every: int = 50,
        warmup: int = 10,
        flops_per_sample: float | None = None,
        peak_flops: float | None = None,
    ):
        if every < 1:
            raise ValueError(f"every is {every}; it counts iterations, so it must be at least 1")
        if warmup < 0:
            raise ValueError(f"warmup is {warmup}; it counts iterations, so it must be at least 0")
        if (flops_per_sample is None) != (peak_flops is None):
            raise ValueError(
                f"flops_per_sample is {flops_per_sample} and peak_flops is {peak_flops}; give both, or neither"
            )
        for name, value in (("flops_per_sample", flops_per_sample), ("peak_flops", peak_flops)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be a number above 0")
        self.write, self.every, self.warmup = write, every, warmup
        self.flops_per_sample, self.peak_flops = flops_per_sample, peak_flops
        self.last: Row = {}
        self._iteration = self._passes = 0  # of a plain loop
        self._start()

    def attach(self, trainer: Engine) -> None:
        """Measure ``trainer``, after the handlers attached before and without those attached later."""
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._receive)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        for end in (Events.COMPLETED, Events.TERMINATE):
            trainer.add_event_handler(end, self._finish)

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The ``batches`` of one pass, each iteration timed until the next batch is asked for. The core, for any loop.

        The loop's body counts whole; let it evaluate and save outside.
        """
        self._passes += 1
        source = iter(batches)
        while True:
            asked = perf_counter()
            try:
                batch = next(source)
            except StopIteration:
                break
            came = perf_counter()
            yield batch
            self._seconds.append(perf_counter() - asked)
            self._waited += came - asked
            self._samples += count_samples(batch)
            self._iteration += 1
            if self._iteration >= self._next:
                self._pause(self._iteration, self._passes)
        self._wait_for_device()

    # ---------------------------------------------------------------------------------------------------- events

    def _start(self, engine: Engine | None = None) -> None:
        """A run begins or goes on: what came before it was another process's or another run's."""
        self._warm_until: int | None = None
        self._next = 0
        self._asked = self._came = 0.0
        self._written = False
        self._clear()

    def _ask(self) -> None:  # ignite hands no engine to who takes none, which is a quarter of the cost
        self._asked = perf_counter()

    def _receive(self) -> None:
        self._came = perf_counter()

    def __call__(self, engine: Engine) -> None:
        """The end of an iteration."""
        now, came = perf_counter(), self._came
        state: Any = engine.state
        samples = getattr(state.output, "samples", None)
        self._samples += count_samples(state.batch) if samples is None else samples
        asked = self._asked or came  # an engine that runs without data asks for none
        self._waited += came - asked
        self._seconds.append(now - asked)
        if state.iteration >= self._next:
            self._pause(state.iteration, state.epoch, state.epoch_length)

    def _finish(self, engine: Engine) -> None:
        """A run too short for a row gets one all the same."""
        iteration = engine.state.iteration
        if not self._written and self._warm_until is not None and iteration > self._warm_until:
            self._end_window(iteration, engine.state.epoch)

    # ---------------------------------------------------------------------------------------------------- counting

    def _pause(self, iteration: int, epoch: int, epoch_length: int | None = None) -> None:
        """At an iteration after which something is due, find out what, and when something is due next."""
        if self._warm_until is None:
            self._warm_until = iteration - 1 + self.warmup
        if iteration == self._warm_until:
            self._wait_for_device()
            self._clear()
        elif iteration > self._warm_until:
            if iteration % self.every == 0:
                self._end_window(iteration, epoch)
            elif epoch_length and iteration % epoch_length == 0:
                self._wait_for_device()
        periods = [self.every, epoch_length or self.every]
        self._next = min(iteration - iteration % period + period for period in periods)
        if iteration < self._warm_until:
            self._next = self._warm_until

    def _clear(self) -> None:
        self._seconds: list[float] = []  # of each iteration
        self._waited = self._drained = 0.0
        self._samples = 0

    def _wait_for_device(self) -> None:
        """Until what was queued is done: it is part of the time that its iterations took."""
        if torch.cuda.is_initialized():
            began = perf_counter()
            torch.cuda.synchronize()
            self._drained += perf_counter() - began

    def _end_window(self, iteration: int, epoch: int) -> None:
        """Write what was measured since the last row, if anything was."""
        self._wait_for_device()
        steps = sorted(self._seconds)
        own = (sum(steps) + self._drained, self._waited, self._samples)
        self._clear()
        if not steps:
            return
        seconds, waits, samples = zip(*distributed.gather(own))
        rate = sum(samples) / max(*seconds, 1e-9)
        self._written = True
        self.last = {
            "iteration": iteration,
            "epoch": epoch,
            "train/samples_per_second": rate,
            "train/data_wait_share": sum(waits) / max(sum(seconds), 1e-9),
            "train/step_ms_p50": 1000 * _percentile(steps, 50),
            "train/step_ms_p95": 1000 * _percentile(steps, 95),
            "train/memory_gib": _memory_gib(),
        }
        if self.flops_per_sample is not None and self.peak_flops is not None:
            self.last["train/mfu"] = rate * self.flops_per_sample / (self.peak_flops * distributed.world_size())
        if distributed.rank() == 0:
            self.write(self.last)


def _percentile(ordered: list[float], percent: int) -> float:
    """The smallest of the values that at least so many percent do not exceed.

    >>> _percentile([1.0, 2.0, 3.0, 9.0], 50), _percentile([1.0, 2.0, 3.0, 9.0], 95)
    (2.0, 9.0)
    """
    return ordered[max(-(-len(ordered) * percent // 100), 1) - 1]


def _memory_gib() -> float:
    """The most that this process has needed so far."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, KiB elsewhere

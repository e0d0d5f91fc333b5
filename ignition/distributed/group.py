"""Processes of one run: who we are, and how all come to one decision."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ignition.distributed.peers import Peers
from ignition.distributed.rendezvous import meet
from ignition.distributed.whereabouts import Whereabouts

# Decisions travel over gloo on the CPU whatever the gradients travel over, so asking never waits for the device.
_decisions: Any = None
_peers: Peers | None = None

# What torch says, over gloo and nccl, where another process does not answer.
_UNANSWERED = re.compile(
    r"closed by peer|reset by peer|broken pipe|gloo|nccl|timed? ?out|ProcessGroup|TCPStore|connection", re.IGNORECASE
)


class ProcessLost(RuntimeError):
    """Another process of the run is gone, so this one cannot go on; names it."""


def launched_by_torchrun() -> bool:
    """Whether this process was started as one of several (torchrun sets these variables)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its own host: which device it takes."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched_by_torchrun() else 0


def world_size() -> int:
    """How many processes the run has, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device_type: str, *, timeout_seconds: float = 600.0) -> Iterator[None]:
    """Join the other processes that torchrun started, if any, and leave them together at the end.

    Gradients travel over nccl between CUDA devices and over gloo between CPUs.

    Raises:
        ProcessLost: another process is gone.
    """
    global _decisions, _peers
    if not launched_by_torchrun():
        yield
        return
    backend = "nccl" if device_type == "cuda" else "gloo"
    if device_type == "cuda":
        torch.cuda.set_device(local_rank())
    timeout = timedelta(seconds=timeout_seconds)
    store, number, count = meet(timeout)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=timeout)
    _decisions = dist.new_group(backend="gloo", timeout=timeout)
    _peers = peers = Peers(rank(), world_size(), from_first)
    try:
        yield
        dist.barrier(group=_decisions)  # nobody leaves while another one still asks
    except BaseException as error:
        cause = cause_of(error)
        peers.say_end(f"{type(cause).__name__}: {cause}")  # before its connections close
        if cause is error:
            raise
        raise cause from error
    finally:
        peers.say_end()
        _decisions = None
        dist.destroy_process_group()
        peers.close()
        _peers = None


def cause_of(error: BaseException) -> BaseException:
    """Why this process cannot go on: a `ProcessLost` where another one did not answer, else ``error`` itself.

    >>> cause_of(ValueError("no such key"))
    ValueError('no such key')
    """
    if _peers is None or not isinstance(error, RuntimeError) or isinstance(error, ProcessLost):
        return error
    if not _UNANSWERED.search(str(error)):
        return error
    lost = _peers.lost(wait_seconds=3.0)
    if lost is not None:
        return ProcessLost(str(lost))
    first = str(error).partition("\n")[0]
    return ProcessLost(f"{_unanswering(_peers.whereabouts())} ({first})")


def _unanswering(places: list[Whereabouts]) -> str:
    """Which processes do not answer this one, though none is gone, and what they are at instead."""
    silent = sorted(set(range(world_size())) - {place.rank for place in places})
    others = [place for place in places if place.rank != rank()]
    busy = [str(place) for place in others if not place.waits]
    busy += [
        f"process {number} does not even tell where it is: it is stopped, or busy in native code" for number in silent
    ]
    if busy:
        return f"no answer within the time limit: {'; '.join(busy)}"
    return f"processes wait for each other, so they do not do the same: {'; '.join(map(str, places))}"


def agree(request: int) -> int:
    """The highest ``request`` of any process: all get the same answer, in the same iteration.

    Without a process group the own request comes back at once.

    >>> agree(3)
    3
    """
    if world_size() == 1:
        return request
    answer = torch.tensor([request], dtype=torch.int64)
    dist.all_reduce(answer, op=dist.ReduceOp.MAX, group=_group())
    return int(answer)


def highest(requests: list[int]) -> list[int]:
    """`agree` on each of several requests, in one message; all processes give equally many.

    >>> highest([0, 1])
    [0, 1]
    """
    if world_size() == 1:
        return requests
    answer = torch.tensor(requests, dtype=torch.int64)
    dist.all_reduce(answer, op=dist.ReduceOp.MAX, group=_group())
    return answer.tolist()


def total(value: float) -> float:
    """The sum of ``value`` over all processes.

    >>> total(2.5)
    2.5
    """
    if world_size() == 1:
        return value
    answer = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(answer, op=dist.ReduceOp.SUM, group=_group())
    return float(answer)


def totals(values: list[float]) -> list[float]:
    """Each of ``values`` summed over all processes, in one message; all give equally many.

    >>> totals([1.0, 2.0])
    [1.0, 2.0]
    """
    if world_size() == 1:
        return values
    answer = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(answer, op=dist.ReduceOp.SUM, group=_group())
    return answer.tolist()


@torch.no_grad()
def share_buffers(module: torch.nn.Module) -> None:
    """Give every process the buffers of ``module`` (running statistics, counters) that process 0 has."""
    if world_size() == 1:
        return
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for buffer in module.buffers():
        if buffer.numel():
            by_type.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_type.values():
        together = torch.cat([buffer.reshape(-1) for buffer in buffers])
        dist.broadcast(together, src=0)
        parts = together.split([buffer.numel() for buffer in buffers])
        if rank() != 0:
            torch._foreach_copy_(buffers, [part.view_as(buffer) for part, buffer in zip(parts, buffers)])


def from_first(value: Any) -> Any:
    """Process 0's ``value`` (any object that can be pickled), on every process.

    >>> from_first("runs/depth/depth-001")
    'runs/depth/depth-001'
    """
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=_group())
    return box[0]


def gather(value: Any) -> list[Any]:
    """Every process's ``value`` (any object that can be pickled), in order of rank, on every process.

    >>> gather("a")
    ['a']
    """
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def _group() -> Any:
    """Our gloo group; where somebody else made the process group, the default one."""
    return _decisions

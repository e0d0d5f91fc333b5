"""Keeps what a left-out step has seen out of a model's buffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from ignition.events import StepEvents, watch


class BufferKeeper:
    """Gives a model's buffers back what they had before a step that is left out.

    A forward pass changes buffers (running statistics of batch norm, codebooks) long before anybody can know that its
    step is to be left out. One batch with a NaN in it makes running statistics NaN for good: training goes on as if
    nothing had happened, since it does not read them, and every evaluation from then on is NaN.

    Copies are taken on the device, before the first batch of each group, and nobody waits for them: always of running
    statistics, whose kernels do not tell that they change them, and of other buffers where they have changed. Plain
    loops call `keep` before a step's first forward pass, and `give_back` where they leave the step out.

    Args:
        model: the one that is trained.

    >>> norm = nn.BatchNorm1d(2)
    >>> keeper = BufferKeeper(norm)
    >>> keeper.keep()
    >>> _ = norm(torch.full((4, 2), float("nan")))
    >>> keeper.give_back()
    >>> norm.running_mean, int(norm.num_batches_tracked)
    (tensor([0., 0.]), 0)
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._kept: dict[str, _Kept] = {}

    def attach(self, engine: Engine, optimizer: Optimizer) -> None:
        """Watch over the steps of ``optimizer`` in ``engine``, whoever made it."""
        watch(engine, optimizer)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(StepEvents.STEP_SKIPPED | StepEvents.STEP_RESTARTED, self.give_back)

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state
        if not getattr(state, "group_open", False):
            self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Copy what may have changed since the last time."""
        changed = []
        for name, buffer, is_running in _buffers(self.model):
            known = self._kept.get(name)
            if known is None or known.buffer is not buffer or known.copy.shape != buffer.shape:
                self._kept[name] = _Kept(buffer, buffer.clone(), buffer._version, is_running)
            elif known.may_have_changed:
                known.version = buffer._version
                changed.append(known)
        if changed:
            torch._foreach_copy_([one.copy for one in changed], [one.buffer for one in changed])

    @torch.no_grad()
    def give_back(self, engine: Engine | None = None) -> None:
        """Put back what may have changed since `keep`."""
        changed = [one for one in self._kept.values() if one.may_have_changed]
        if changed:
            torch._foreach_copy_([one.buffer for one in changed], [one.copy for one in changed])
        for one in changed:
            one.version = one.buffer._version


@dataclass
class _Kept:
    """A buffer as it is and as it was."""

    buffer: torch.Tensor
    copy: torch.Tensor
    version: int
    is_running: bool

    @property
    def may_have_changed(self) -> bool:
        return self.is_running or self.buffer._version != self.version


def _buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Each buffer by its name, and whether it is a running statistic."""
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(prefix, recurse=False):
            yield name, buffer, name.rpartition(".")[2].startswith("running_")

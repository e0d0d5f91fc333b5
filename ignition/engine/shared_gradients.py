"""Gradients that processes share, where a pass over a batch may fail on one of them alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

Stage = Literal["nothing", "forward", "backward"]


class SharedGradients:
    """The network that is trained, and when its gradients travel.

    `DistributedDataParallel` sends gradients while a backward pass goes on, and each process waits for the messages of
    all others. One whose memory was too small half-way still owes them the rest: `finish` sends it, with whatever
    there is, so that all come to the place where they can agree to begin again.

    Args:
        model: a module, or what wraps it for many processes.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._wrapped = model if isinstance(model, DistributedDataParallel) else None
        self._before: list[tuple[nn.Parameter, torch.Tensor | None, int]] = []
        self._fresh = True  # no parameter had a gradient
        self._reached: Stage = "nothing"
        if self._wrapped is not None:
            self._wrapped.register_forward_pre_hook(self._enter)

    @property
    def can_finish(self) -> bool:
        """Whether processes can begin again after one of them has failed: all their messages are those of gradients."""
        return self._wrapped is not None and not any(isinstance(m, nn.SyncBatchNorm) for m in self.model.modules())

    @property
    def alone(self) -> nn.Module:
        """What computes gradients that stay here until the last pass of a step."""
        return self._wrapped.module if self._wrapped is not None else self.model

    def stay(self) -> AbstractContextManager[Any]:
        """Within, gradients stay here, for networks that are told so and not called in another way."""
        no_sync = getattr(self.model, "no_sync", None) if self._wrapped is None else None
        return no_sync() if no_sync is not None else nullcontext()

    def start(self) -> None:
        """The last batch of a step comes."""
        self._reached = "nothing"

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._reached = "forward"

    def before_backward(self, *, fresh: bool) -> None:
        """The backward pass in which gradients travel comes; ``fresh``: no parameter has a gradient yet."""
        self._reached, self._fresh = "backward", fresh
        if self._wrapped is not None and not fresh:
            self._before = [(p, p.grad, p.grad._version if p.grad is not None else -1) for p in self._trained()]

    def finish(self) -> None:
        """Send what other processes wait for, after a last batch that failed."""
        if self._wrapped is None:
            return
        if self._reached == "backward":
            owed = [parameter for parameter in self._trained() if not self._has_arrived(parameter)]
        else:
            if self._reached == "nothing":
                self._wrapped._pre_forward()  # buffers, and in which order gradients go
            self._wrapped.reducer.prepare_for_backward([])
            owed = self._trained()
        if owed:
            torch.stack([parameter.flatten()[:1].sum() * 0.0 for parameter in owed]).sum().backward()

    def _has_arrived(self, parameter: nn.Parameter) -> bool:
        """Whether the failed backward pass has come to this parameter."""
        if self._fresh:
            return parameter.grad is not None
        before = next(entry for entry in self._before if entry[0] is parameter)
        return parameter.grad is not before[1] or (parameter.grad is not None and parameter.grad._version != before[2])

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

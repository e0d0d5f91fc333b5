"""Measures gradients before every step and keeps them from being too large."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from ignition.events import StepEvents, watch


class GradientClipping:
    """Clips gradients by their norm or by value; with neither, only measures them.

    Acts when gradients are accumulated, averaged over processes and unscaled, so the limit means the same under
    accumulation, DDP and fp16. The norm before clipping is left as ``engine.state.gradient_norm``: a 0-dim tensor on
    the device, which is never waited for. Gradients whose norm is not finite are left as they are: clipping would
    turn them into a mixture of zeros and NaN that hides the fault from whoever judges them next (`NonFiniteSteps`).

    Args:
        max_norm: scale all gradients so that their common L2 norm is at most this (Pascanu et al., 2013).
        max_value: bring every element into -max_value..max_value.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> GradientClipping(max_norm=1.0).clip(layer.parameters()), layer.weight.grad
    (tensor(5.), tensor([[0.6000, 0.8000]]))
    """

    def __init__(self, *, max_norm: float | None = None, max_value: float | None = None):
        if max_norm is not None and max_value is not None:
            raise ValueError(f"max_norm is {max_norm} and max_value is {max_value}; give one of them, or none")
        for name, limit in (("max_norm", max_norm), ("max_value", max_value)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{name} is {limit}; it must be a number above 0, or None to only measure")
        self.max_norm, self.max_value = max_norm, max_value
        self._clipped: torch.Tensor | int = 0

    @property
    def clipped(self) -> int:
        """How many steps were clipped so far. Reading it waits for the device."""
        return int(self._clipped)

    def attach(self, engine: Engine, optimizer: Optimizer, event: Any = StepEvents.GRADIENTS_READY) -> None:
        """Clip the gradients of ``optimizer``'s parameters at ``event``, whoever made ``engine``."""
        watch(engine, optimizer)
        engine.add_event_handler(event, self, optimizer)

    def __call__(self, engine: Engine, optimizer: Optimizer) -> None:
        state: Any = engine.state
        state.gradient_norm = self.clip(p for group in optimizer.param_groups for p in group["params"])
        state.gradient_norm_step = state.steps  # who judges the norm can tell whether it is this step's

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter]) -> torch.Tensor:
        """Clip the gradients of ``parameters`` in place; their norm before, 0-dim. The core, for any loop."""
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters]
        norm = get_total_norm(gradients)  # type: ignore[arg-type]
        limit = self.max_norm or self.max_value
        if limit is None:
            return norm
        size = norm if self.max_norm else get_total_norm(gradients, math.inf)  # type: ignore[arg-type]
        # Where the size is known already, most steps end here. To ask another device would be to wait for it.
        if size.device.type != "cpu" or limit < float(size) < math.inf:
            self._cut(parameters, size, limit)
        return norm

    def _cut(self, parameters: list[nn.Parameter], size: torch.Tensor, limit: float) -> None:
        """Bring gradients of this size down to the limit, if they are finite and above it, without waiting for it."""
        finite = size.nan_to_num(nan=0.0, posinf=0.0)
        self._clipped = self._clipped + (finite > limit).long()
        if self.max_norm:
            clip_grads_with_norm_(parameters, limit, finite)  # a norm of 0 means to leave them
            return
        bound = torch.where(size.isfinite(), limit, math.inf)
        for parameter in parameters:
            gradient: Any = parameter.grad
            gradient.clamp_(-bound.to(gradient), bound.to(gradient))

    def state_dict(self) -> dict[str, int]:
        """How often it has clipped."""
        return {"clipped": self.clipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting."""
        self._clipped = state["clipped"]

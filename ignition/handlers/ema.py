"""A moving average of a model's weights, to evaluate and to save beside the weights that are trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from ignition.checkpoint_file import give_state, misfits, state_of
from ignition.checkpoint_file.modules import plain_name, unwrapped
from ignition.distributed.sharding import like, own_shares
from ignition.events import StepEvents, watch


class EMA:
    """Averages a model's weights over its optimizer steps, each older one counting ``decay`` times as much.

    `module` is the average, a model of its own in evaluation mode: evaluate it as any other. Every step that was taken
    counts once, one that was left out not at all. Buffers (running statistics of batch norm, counters) are copied as
    they are. Weights in 16 bits are averaged in 32: small changes would be lost in 16. Frozen weights stay exactly what
    they are, tied ones stay tied. The first update takes the weights as they are, so that a model may be given other
    weights after this was made; `reset` does it at any time.

    Processes that have the same weights have the same average, without a message. What is not finite in a weight stays
    in its average until `reset` or a restored state: let `NonFiniteSteps` keep it out of the weights.

    Args:
        model: the model that is trained, on its device; however it is wrapped or compiled.
        decay: share of the old average that a step keeps; 0.999 halves what a weight counts in 693 steps.
        warmup: keep less of it at first, ``(1 + n) / (10 + n)`` after ``n`` updates (TensorFlow's
            ``ExponentialMovingAverage``, 2015), so that the first, bad weights are soon forgotten.
        module: what holds the average, with the same parts; a copy of the model if None. A model whose weights are
            shared out over processes cannot be copied: copy it before, and share the copy out alike.

    Attributes:
        module: the averaged model, not wrapped; without gradients.
        updates: how many steps it has seen.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = EMA(model, decay=0.75, warmup=False)
    >>> for weight in (8.0, 4.0, 0.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     ema.update()
    >>> ema.module.weight.item()
    5.25
    """

    def __init__(self, model: nn.Module, decay: float = 0.999, *, warmup: bool = True, module: nn.Module | None = None):
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay is {decay}; it must be above 0 and below 1")
        self.decay, self.warmup, self.updates = decay, warmup, 0
        self._model = unwrapped(model)
        self.module: nn.Module = (module or copy.deepcopy(self._model)).eval().requires_grad_(False)
        self._averaged: list[_Group] = []
        self._copied: list[_Group] = []
        self._applied = False
        self._wide: dict[str, torch.Tensor] = {}  # averages in 32 bits of weights that have 16, by plain name
        self._pair()

    def attach(self, engine: Engine, optimizer: Optimizer, event: Any = StepEvents.STEP_COMPLETED) -> None:
        """Take in the weights after each step of ``optimizer`` in ``engine``, whoever made it."""
        watch(engine, optimizer)
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine) -> None:
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step. The core, for any loop."""
        if self._applied:
            raise RuntimeError("no step can be averaged within `applied`: the model has the averaged weights there")
        if self.updates == 0:
            self._take()
        else:
            self._average(1.0 - self.decay_at(self.updates))
        self.updates += 1

    def decay_at(self, updates: int) -> float:
        """What the update after so many others keeps of the average.

        >>> ema = EMA(nn.Linear(1, 1), decay=0.9)
        >>> [round(ema.decay_at(updates), 3) for updates in (1, 10, 80, 100)]
        [0.182, 0.55, 0.9, 0.9]
        """
        return min(self.decay, (1.0 + updates) / (10.0 + updates)) if self.warmup else self.decay

    @torch.no_grad()
    def reset(self) -> None:
        """Begin anew with the weights as they are, for instance when the model was given those of another one."""
        self._take()
        self.updates = 0

    def copy_to(self, model: nn.Module) -> None:
        """Give the averaged weights to ``model``, which has the same parts, wrapped or not.

        Raises:
            ValueError: it has other parts; names them.
        """
        average = state_of(self.module)
        problems = misfits(model, average)
        if problems:
            raise ValueError(f"the average does not fit this {type(unwrapped(model)).__name__}: {'; '.join(problems)}")
        give_state(model, average)

    @contextmanager
    def applied(self) -> Iterator[nn.Module]:
        """Within a ``with`` block the trained model has the averaged weights; its own come back, whatever happens.

        For what must run or save that very model. To evaluate, `module` does it without the two copies.
        """
        if self._applied:
            raise RuntimeError("the averaged weights are applied already")
        groups = self._averaged + self._copied
        live = [tensor.detach() for group in groups for tensor in group.live()]
        average = [tensor for group in groups for tensor in group.own()]
        kept = [tensor.clone() for tensor in live]
        self._applied = True
        try:
            torch._foreach_copy_(live, average)
            yield self._model
        finally:
            torch._foreach_copy_(live, kept)
            self._applied = False

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and the average under plain names, what is averaged in 32 bits in 32 bits."""
        return {"updates": self.updates, "module": {**state_of(self.module), **self._wide}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved average, from whatever device.

        Raises:
            ValueError: it is of a model with other parts; names them.
        """
        problems = misfits(self.module, state["module"])
        if problems:
            raise ValueError(f"the saved average is of another model: {'; '.join(problems)}")
        give_state(self.module, state["module"])
        for name, wide in self._wide.items():
            wide.copy_(like(state["module"][name], wide))
        self.updates = state["updates"]

    # ------------------------------------------------------------------------------------------------ the tensors

    def _pair(self) -> None:
        """Find what is averaged and what is copied, in groups that one kernel can do."""
        averaged: dict[Any, _Group] = {}
        copied: dict[Any, _Group] = {}
        for kind in ("_parameters", "_buffers"):
            for live, own in zip(_slots(self._model, kind), _slots(self.module, kind), strict=True):
                tensor = own.tensor()
                is_averaged = kind == "_parameters" and _can_be_averaged(tensor)
                groups = averaged if is_averaged else copied
                group = groups.setdefault((tensor.device, tensor.dtype), _Group([], [], []))
                group.live_slots.append(live)
                group.own_slots.append(own)
                if is_averaged and tensor.dtype in (torch.bfloat16, torch.float16):
                    self._wide[own.name] = tensor.float()
                    group.wide.append(self._wide[own.name])
        self._averaged, self._copied = list(averaged.values()), list(copied.values())

    def _take(self) -> None:
        for group in self._averaged + self._copied:
            torch._foreach_copy_(group.own(), group.live())
            if group.wide:
                torch._foreach_copy_(own_shares(group.wide), group.live())

    def _average(self, share: float) -> None:
        """Move the average by ``share`` of its distance to the weights. Where there is none it does not move."""
        for group in self._averaged:
            live, own = group.live(), group.own()
            if group.wide:
                wide = own_shares(group.wide)
                torch._foreach_add_(wide, torch._foreach_sub(live, wide), alpha=share)
                torch._foreach_copy_(own, wide)
            else:
                torch._foreach_lerp_(own, live, share)
        for group in self._copied:
            torch._foreach_copy_(group.own(), group.live())


class _Slot(NamedTuple):
    """Where a module keeps a tensor. The tensor is looked up at each use: ``to`` and assignments put another there."""

    holder: dict[str, Any]
    key: str
    name: str

    def tensor(self) -> torch.Tensor:
        return self.holder[self.key]


class _Group(NamedTuple):
    """Tensors of one type on one device, in the trained model and in its average; the own shares of them."""

    live_slots: list[_Slot]
    own_slots: list[_Slot]
    wide: list[torch.Tensor]

    def live(self) -> list[torch.Tensor]:
        return own_shares([holder[key] for holder, key, _ in self.live_slots])

    def own(self) -> list[torch.Tensor]:
        return own_shares([holder[key] for holder, key, _ in self.own_slots])


def _slots(module: nn.Module, kind: str) -> list[_Slot]:
    """Where the module and its parts keep their ``_parameters`` or ``_buffers``; a shared one is listed once."""
    seen: set[int] = set()
    found = []
    for prefix, part in module.named_modules():
        for key, tensor in getattr(part, kind).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found.append(_Slot(getattr(part, kind), key, plain_name(f"{prefix}.{key}" if prefix else key)))
    return found


def _can_be_averaged(tensor: torch.Tensor) -> bool:
    return (tensor.is_floating_point() and tensor.element_size() > 1) or tensor.is_complex()

"""Counts units that were 0 for every sample of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition import distributed
from ignition.checkpoint_file.modules import plain_name, unwrapped

log = logging.getLogger(__name__)

Row = dict[str, Any]

# Modules whose output is exactly 0, with no gradient behind it, for a unit that is off.
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid)


class UnitActivity:
    """Tells for each layer of rectified units how many of them were 0 for every sample and position of an evaluation.

    A row has ``iteration``, ``epoch`` and ``units``: by the name of the activation in the model (`nn.ReLU`, `nn.ReLU6`,
    `nn.Hardswish`, `nn.Hardsigmoid`), how many units were dead and how many there are. A unit is an index of the
    output's dimension ``dim``, that of the channels. An activation that is called at several places of a forward pass
    counts a unit as alive that fires at any of them; where these have unlike numbers of channels, they are units of
    their own. Over many processes a unit is alive that fires on any.

    Hooks look at outputs while the evaluator runs, and at no other time; flags stay on the device until its end. Not
    seen are activations that are functions (``torch.relu``) and no modules, and those in a compiled module, into which
    hooks do not reach.

    Args:
        model: the network that is evaluated; may be wrapped.
        tell: takes a row, on process 0; for instance ``RunFolder.write_measurement``.
        dim: of the channels in an activation's output: 1 as in [B,C] and [B,C,H,W], -1 as in [B,T,C].

    >>> layer = nn.Linear(1, 3)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]])), layer.bias.zero_()
    >>> model = nn.Sequential(layer, nn.ReLU())
    >>> activity = UnitActivity(model)
    >>> activity.start()
    >>> _ = model(torch.tensor([[1.0], [2.0]]))
    >>> activity.stop()
    {'1': [2, 3]}
    """

    def __init__(self, model: nn.Module, tell: Callable[[Row], object] | None = None, *, dim: int = 1):
        self.tell, self.dim = tell, dim
        self._model = model
        self._hooks: list[Any] = []
        self._highest: dict[tuple[str, int], torch.Tensor] = {}  # by module and number of channels: [channels]
        self._told = False

    def attach(self, evaluator: Engine, trainer: Engine) -> None:
        """Watch each run of ``evaluator``, and tell what it saw at ``trainer``'s iteration."""
        evaluator.add_event_handler(Events.STARTED, lambda engine: self.start())
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: self._finish(trainer))
        evaluator.add_event_handler(Events.TERMINATE, lambda engine: self._remove_hooks())
        # An evaluation that failed fires none of these, and training may go on all the same.
        trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: self._remove_hooks())

    def start(self) -> None:
        """Begin to count. With `stop` the core, for any loop."""
        self._remove_hooks()
        self._highest = {}
        for name, module in self._watched().items():
            self._hooks.append(module.register_forward_hook(partial(self._see, name)))

    def stop(self) -> dict[str, list[int]]:
        """How many units of each activation were dead, and how many there are; over all processes, which all ask."""
        self._remove_hooks()
        dead: dict[str, list[int]] = {}
        for (name, channels), alive in sorted(self._everywhere().items()):
            counts = dead.setdefault(name, [0, 0])
            counts[0] += channels - sum(alive)
            counts[1] += channels
        return {name: dead[name] for name in self._watched() if name in dead}

    def _finish(self, trainer: Engine) -> None:
        units = self.stop()
        if units and self.tell is not None and distributed.rank() == 0:
            self.tell({"iteration": trainer.state.iteration, "epoch": trainer.state.epoch, "units": units})

    def _watched(self) -> dict[str, nn.Module]:
        """Activations by name, those in compiled modules left out."""
        named = {
            plain_name(name): m for name, m in unwrapped(self._model).named_modules() if isinstance(m, ACTIVATIONS)
        }
        compiled = {inner for module in self._model.modules() if _is_compiled(module) for inner in module.modules()}
        if compiled.intersection(named.values()) and not self._told:
            self._told = True
            log.info("which units never fire is not measured within compiled modules")
        return {name: module for name, module in named.items() if module not in compiled}

    def _see(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Remember the highest value of each channel of ``output``, which is 0 where all are."""
        if torch.compiler.is_compiling() or not output.numel() or not -output.ndim <= self.dim < output.ndim:
            return
        others = [place for place in range(output.ndim) if place != self.dim % output.ndim]
        output = output.detach()
        if isinstance(module, nn.Hardswish):  # the only one that can be negative
            output = output.abs()
        # To compare each element with 0 would take ten times as long.
        highest = output.amax(others) if others else output
        key = name, len(highest)
        known = self._highest.get(key)
        self._highest[key] = highest if known is None else torch.maximum(known, highest.to(known.device))

    def _everywhere(self) -> dict[tuple[str, int], list[bool]]:
        """Which channels fired on any process; from the device in one transfer."""
        flags: list[bool] = []
        if self._highest:
            first = next(iter(self._highest.values())).device
            flags = torch.cat([(highest != 0).to(first) for highest in self._highest.values()]).tolist()
        own, place = {}, 0
        for name, channels in self._highest:
            own[name, channels] = flags[place : place + channels]
            place += channels
        together: dict[tuple[str, int], list[bool]] = {}
        for found in distributed.gather(own) if self._watched() else ():
            for key, alive in found.items():
                together[key] = [one or other for one, other in zip(alive, together.get(key, alive))]
        return together

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or "_orig_mod" in module._modules

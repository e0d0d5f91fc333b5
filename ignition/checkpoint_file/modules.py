"""A module's state under its plain names, however the module is distributed or compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ignition.checkpoint_file.content import is_finite
from ignition.distributed.sharding import is_shared_out, like, own_share


def unwrapped(thing: Any) -> Any:
    """The module itself, out of what distributes or compiles it."""
    while True:
        if isinstance(thing, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            thing = thing.module
        elif isinstance(thing, nn.Module) and "_orig_mod" in thing._modules:
            thing = thing._modules["_orig_mod"]
        else:
            return thing


def plain_name(name: str) -> str:
    """A parameter's name as it is when nothing within the module is compiled."""
    return name.replace("_orig_mod.", "")


def state_of(thing: Any) -> Any:
    """The ``state_dict`` of anything that has one; of a module under its plain names.

    >>> list(state_of(torch.compile(nn.Linear(1, 1), backend="eager")))
    ['weight', 'bias']
    """
    if not isinstance(thing, nn.Module):
        return thing.state_dict()
    return {plain_name(name): value for name, value in unwrapped(thing).state_dict().items()}


def give_state(thing: Any, state: Any) -> None:
    """Load what `state_of` gave; whole tensors, or own shares, also where the weights are shared out over processes."""
    if isinstance(thing, nn.Module):
        thing = unwrapped(thing)
        state = {name: like(state[plain_name(name)], own) for name, own in thing.state_dict().items()}
    elif isinstance(thing, Optimizer):
        state = _shared_out(state, thing)
    thing.load_state_dict(state)


def _shared_out(state: Any, optimizer: Optimizer) -> Any:
    """An optimizer's state, what belongs to a parameter shared out over processes as the parameter is."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(map(is_shared_out, parameters)):
        return state
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    of = dict(zip(numbers, parameters))
    moments = {
        number: {name: like(value, of[number]) for name, value in entries.items()} if number in of else entries
        for number, entries in state["state"].items()
    }
    return {**state, "state": moments}


def misfits(module: nn.Module, saved: Any) -> list[str]:
    """How a saved state differs from what the module would save now, in words; nothing where it can be loaded."""
    if not isinstance(saved, Mapping):
        return [f"it is a {type(saved).__name__} and no module's state"]
    own = state_of(module)
    lacking, foreign = [name for name in own if name not in saved], [name for name in saved if name not in own]
    shapes = [
        f"{name} is {list(saved[name].shape)} there and {list(value.shape)} here"
        for name, value in own.items()
        if isinstance(value, torch.Tensor)
        and name in saved
        and saved[name].shape not in (value.shape, own_share(value).shape)
    ]
    found = [(lacking, "it lacks "), (foreign, "it has besides "), (shapes, "")]
    return [text + ", ".join(names[:3]) + ("" if len(names) < 4 else ", ...") for names, text in found if names]


def infinite_buffers(module: nn.Module) -> list[str]:
    """Names of the buffers that hold infinity by design, as a mask of -inf does, and do not make a model broken."""
    return [
        plain_name(name)
        for name, buffer in unwrapped(module).named_buffers()
        if not is_finite(buffer) and not bool(buffer.isnan().any())
    ]

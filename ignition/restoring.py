"""Contexts after which things are as they were, bit for bit, whatever happened within: for steps that are a trial."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from ignite.engine import Engine
from ignite.engine.events import State
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ignition.checkpoint_file import give_state, state_of
from ignition.randomness import borrowed_generators

_OF_A_STEP = frozenset({"stop", "loss", "gradient_norm", "gradient_norm_step"})


@contextmanager
def generators_restored() -> Iterator[None]:
    """The random numbers of python, numpy and torch (CPU and CUDA) go on as before.

    >>> with generators_restored():
    ...     first = torch.rand(1)
    >>> bool(first == torch.rand(1))
    True
    """
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    kept = torch.cuda.get_rng_state_all() if in_use else []
    with borrowed_generators():
        try:
            yield
        finally:
            torch.cuda.set_rng_state_all(kept)


@contextmanager
def model_restored(model: nn.Module) -> Iterator[None]:
    """Weights, all buffers, extra state, modes and gradients. Within, there are no gradients to begin with.

    Tensors stay the same objects and get their values back, so that whoever holds them need not know. What a module
    keeps in other attributes is not looked at.

    >>> model = nn.Linear(1, 1)
    >>> with model_restored(model):
    ...     _ = nn.init.constant_(model.weight, 7.0)
    >>> bool(model.weight == 7.0)
    False
    """
    modules = list(model.modules())
    places = [(place, name) for module in modules for place in (module._parameters, module._buffers) for name in place]
    held: list[tuple[Any, str, torch.Tensor | None]] = [(place, name, place[name]) for place, name in places]
    tensors = [tensor for _, _, tensor in held if tensor is not None and not _overlaps(tensor)]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    tensors += [gradient for _, gradient in gradients if gradient is not None]
    values = [(tensor, tensor.detach().clone()) for tensor in {id(tensor): tensor for tensor in tensors}.values()]
    modes = [(module, module.training) for module in modules]
    extra = [module for module in modules if type(module).get_extra_state is not nn.Module.get_extra_state]
    extra_states = [copy.deepcopy(module.get_extra_state()) for module in extra]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for place, name, held_tensor in held:
            place[name] = held_tensor
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode
        for module, state in zip(extra, extra_states, strict=True):
            module.set_extra_state(state)


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether it is an expanded view, which nobody can write to, so that it need not be put back."""
    strided = tensor.layout == torch.strided
    return strided and any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape))


@contextmanager
def optimizer_restored(optimizer: Optimizer) -> Iterator[None]:
    """State, learning rates and the groups' other settings. Within, the optimizer works on copies.

    To load a saved state instead would leave copies behind, and cast them to the parameters' type.
    """
    state, groups = optimizer.state, optimizer.param_groups
    same = {id(parameter): parameter for group in groups for parameter in group["params"]}
    optimizer.state, optimizer.param_groups = copy.deepcopy(state, same), copy.deepcopy(groups, same)
    try:
        yield
    finally:
        optimizer.state, optimizer.param_groups = state, groups


@contextmanager
def state_restored(thing: Any) -> Iterator[None]:
    """Anything with ``state_dict`` and ``load_state_dict``."""
    if isinstance(thing, torch.amp.GradScaler):  # after a step that failed half-way there is more than its state
        with _attributes_restored(thing):
            thing.__dict__ = copy.deepcopy(vars(thing))
            yield
        return
    state = copy.deepcopy(state_of(thing))
    try:
        yield
    finally:
        give_state(thing, state)


@contextmanager
def engine_restored(engine: Engine, keep: Sequence[Any] = ()) -> Iterator[None]:
    """An engine, which within has a state of its own, and of its handlers those of its step and in ``keep`` alone.

    It can be run even from one of its own handlers. Restored are also the states of the handlers in ``keep`` and of
    the ``GradScaler``, if the engine's step or state has one.

    Raises:
        ValueError: one to keep is not attached to the engine.

    >>> engine = Engine(lambda engine, batch: batch)
    >>> with engine_restored(engine):
    ...     _ = engine.run([1, 2, 3])
    >>> engine.state.iteration, engine.state.output
    (0, None)
    """
    step: Any = engine._process_function
    handlers, state = _handlers_of(engine, (step, *keep)), State()
    for thing in keep:
        if not any(_belongs(handler, thing) for entries in handlers.values() for handler, _, _ in entries):
            raise ValueError(f"{type(thing).__name__} cannot be kept: it is not attached to this engine")
    # What others have put there (a scaler) is there as well; what belongs to the run's last step is not.
    foreign = vars(engine.state).keys() - vars(state).keys() - _OF_A_STEP
    for name in foreign:
        value = getattr(engine.state, name)
        setattr(state, name, copy.copy(value) if isinstance(value, (dict, list, set)) else value)
    scaler = getattr(getattr(step, "precision", None), "scaler", None) or getattr(state, "scaler", None)
    with ExitStack() as stack:
        stack.enter_context(_attributes_restored(engine))
        for thing in (scaler, *keep):
            if hasattr(thing, "state_dict"):
                stack.enter_context(state_restored(thing))
        engine.state, engine._event_handlers = state, handlers
        engine._dataloader_iter = engine._init_iter = engine._internal_run_generator = engine.last_event_name = None
        vars(engine).pop("_consensus", None)  # what is asked for within is not asked of the run
        yield


def _handlers_of(engine: Engine, owners: Sequence[Any]) -> dict[Any, list[Any]]:
    """The engine's handlers by event, as far as they belong to one of ``owners``."""
    found: dict[Any, list[Any]] = defaultdict(list)
    for event, entries in engine._event_handlers.items():
        own = [entry for entry in entries if any(_belongs(entry[0], owner) for owner in owners)]
        if own:
            found[event] = own
    return found


def _belongs(handler: Any, owner: Any) -> bool:
    """Whether ``handler`` is ``owner`` or a method of it, filtered or not."""
    handler = getattr(handler, "__wrapped__", handler)
    return handler is owner or getattr(handler, "__self__", handler) is owner or handler == owner


@contextmanager
def data_restored(data: Any) -> Iterator[None]:
    """The generators that a ``DataLoader`` draws from, and its workers, who have generators too."""
    batches = getattr(data, "batch_sampler", None)
    holders = (data, getattr(data, "sampler", None), batches, getattr(batches, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    kept = [(generator, generator.get_state()) for generator in found if isinstance(generator, torch.Generator)]
    with ExitStack() as stack:
        if isinstance(data, DataLoader):
            stack.enter_context(_attributes_restored(data))
            data._iterator = None  # within, it has workers of its own
        try:
            yield
        finally:
            for generator, state in kept:
                generator.set_state(state)


@contextmanager
def _attributes_restored(thing: Any) -> Iterator[None]:
    """What is set on ``thing`` meanwhile is forgotten."""
    kept = dict(vars(thing))
    try:
        yield
    finally:
        thing.__dict__ = kept

"""The model over many processes: a copy on each (DDP), or shared out among them (FSDP2)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignition import distributed
from ignition.assembly.recipe_parts import AssemblyError
from ignition.config import Config
from ignition.precision import Precision

LEAST = 100_000  # parameters of a block that travels by itself; to send less than that is mostly waiting
SHARE = 0.25  # of the model's parameters that a block may have before its own parts are looked at
LISTS = (nn.ModuleList, nn.ModuleDict)  # they have no forward pass of their own


def is_shared_out(config: Config) -> bool:
    """Whether each process is to have a share of the weights only."""
    return config.trainer.parallel == "fsdp2" and distributed.world_size() > 1


def over_processes(model: nn.Module, config: Config, precision: Precision) -> nn.Module:
    """The model as it is trained: wrapped, or shared out in place, where many processes train it.

    Raises:
        AssemblyError: it cannot be shared out; says why.
    """
    if distributed.world_size() == 1:
        return model
    if is_shared_out(config):
        _share_out(model, precision)
        return model
    # Said of layers whose gradient is laid out otherwise than its bucket: no fault, and nothing to do about it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(model, device_ids=[precision.device] if precision.device.type == "cuda" else None)


def _share_out(model: nn.Module, precision: Precision) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(precision.device.type, (distributed.world_size(),))
    # Weights travel and are used in 16 bits, gradients are added up in 32. What autocast does to inputs stays its own.
    narrow = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    wide = MixedPrecisionPolicy(cast_forward_inputs=False)
    try:
        for part in (*blocks(model), model):
            policy = narrow if precision.amp == "bf16" and not _has_statistics(part) else wide
            fully_shard(part, mesh=mesh, mp_policy=policy)
    except (ValueError, NotImplementedError) as error:
        raise AssemblyError(f"trainer.parallel: fsdp2 cannot share this model out: {error}") from error


def blocks(model: nn.Module) -> list[nn.Module]:
    """The parts of ``model`` that are gathered, used and let go one after another, the inner ones first.

    Parts with at least ``LEAST`` parameters: direct children; in place of lists, sequences, and whatever has more than
    a quarter of all parameters, what is in it. torch's own layers stay whole, since they reach into each other's
    weights; so do parts that share a parameter with something outside them, which then travels with the whole model.

    >>> [type(block).__name__ for block in blocks(nn.Sequential(nn.Linear(9, 9), nn.Linear(999, 999)))]
    ['Linear']
    """
    most = SHARE * _count(model)
    return [part for part in _blocks(model, most) if not _is_tied(part, model)]


def _blocks(module: nn.Module, most: float) -> Iterator[nn.Module]:
    for part in module.children():
        if _count(part) < LEAST:
            continue
        opens = isinstance(part, (*LISTS, nn.Sequential)) or not type(part).__module__.startswith("torch.nn")
        if isinstance(part, LISTS) or (opens and _count(part) > most):
            inner = list(_blocks(part, most))
            yield from inner
            if inner or isinstance(part, LISTS):
                continue
        yield part


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_tied(part: nn.Module, model: nn.Module) -> bool:
    """Whether something outside of ``part`` has one of its parameters, too."""
    inside = set(part.modules())
    own = {id(parameter) for parameter in part.parameters()}
    others = (module for module in model.modules() if module not in inside)
    return any(id(parameter) in own for module in others for parameter in module._parameters.values())


def _has_statistics(part: nn.Module) -> bool:
    """Whether it has running statistics, whose kernels take weights in 32 bits alone."""
    return any(name.rpartition(".")[2].startswith("running_") for name, _ in part.named_buffers())


def shares(config: Config) -> str:
    """What a batch, a step and the learning rate are over many processes, in a line."""
    world, total, accumulate = distributed.world_size(), config.data.batch_size, config.trainer.accumulate
    step = f", {accumulate} batches or {total * accumulate} samples to a step" if accumulate > 1 else ""
    return (
        f"{world} processes ({config.trainer.parallel}): batches of {total} samples in all, {total // world} on each"
        f"{step}; the learning rate {config.optimizer.lr:g} stands as it is, whatever the number of processes"
    )

"""The recipe's model: on its device, over all processes, with a checkpoint's weights."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignition import distributed
from ignition.assembly.recipe_parts import AssemblyError, ask
from ignition.checkpoint_file import Payload
from ignition.config import Config
from ignition.precision import Precision
from ignition.randomness import seed_all
from ignition.recipe import Recipe


def choose_device(name: str) -> torch.device:
    """``auto`` is this process's CUDA device where there is one, else the CPU.

    Raises:
        AssemblyError: a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", distributed.local_rank())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise AssemblyError(f"trainer.device: cannot compute on '{name}': {first}") from error
    return device


def build_model(recipe: Recipe, config: Config, precision: Precision) -> nn.Module:
    """The recipe's model, initialised from the run's seed, on the device, in the layout asked for.

    Raises:
        AssemblyError: the recipe cannot build it (settings, a file with weights).
    """
    torch.manual_seed(config.trainer.seed)  # those of all devices
    seed_all(config.trainer.seed)
    model: nn.Module = ask(recipe, "model").to(precision.device)
    if precision.channels_last:
        for parameter in model.parameters():
            if parameter.ndim == 4:  # weights of 2-D convolutions; `Module.to` would stumble over those of 3-D ones
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def over_processes(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is trained: wrapped where many processes share their gradients."""
    if distributed.world_size() == 1:
        return model
    # Said of layers whose gradient is laid out otherwise than its bucket: no fault, and nothing to do about it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def chosen_weights(config: Config, payload: Payload) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint by which it was chosen: the averaged ones where ``checkpoint.metric`` is theirs."""
    averaged = config.checkpoint.metric.removeprefix("val/").startswith("ema/")
    return payload["ema"]["module"] if averaged and "ema" in payload else payload["model"]


def load_weights(model: nn.Module, state: dict[str, torch.Tensor], path: Any) -> None:
    """A checkpoint's weights into the recipe's model.

    Raises:
        AssemblyError: they are of another model; names what differs.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise AssemblyError(f"{path}: the weights are of another model: {' '.join(lines[1:4]).strip()}") from error

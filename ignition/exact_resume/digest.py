"""Tensors, and what holds them, as short words that are equal where all bits are."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from ignition.data import count_samples


def digest(value: Any) -> str:
    """The type, size and bits of ``value``: a tensor, an array, or anything whose ``repr`` says what it is.

    >>> digest(torch.tensor([0.0])) == digest(torch.tensor([0.0])), digest(torch.tensor([0.0])) == digest([-0.0])
    (True, False)
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        words, content = f"{value.dtype}{value.shape}", np.ascontiguousarray(value).tobytes()
    elif isinstance(value, torch.Tensor):
        local = value.to_local() if hasattr(value, "to_local") else value  # of a tensor in shards, this process's
        plain = local.detach().cpu().contiguous().resolve_conj().resolve_neg()
        words, content = f"{plain.dtype}{tuple(plain.shape)}", _bytes(plain)
    else:
        words, content = repr(value), b""
    return hashlib.blake2b(words.encode() + content, digest_size=8).hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def of_batch(batch: Any) -> dict[str, list[str]]:
    """A digest for each sample of each entry of a batch; one for the whole entry where it does not go by samples.

    >>> found = of_batch({"x": torch.zeros(2, 3), "scale": 2.0})
    >>> {name: len(samples) for name, samples in found.items()}
    {'x': 2, 'scale': 1}
    """
    count, found = count_samples(batch), {}
    for name, value in leaves(batch):
        by_sample = isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == count
        found[name or "batch"] = [digest(one) for one in value] if by_sample else [digest(value)]
    return found


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """What is in dicts, lists and tuples within each other, with its dotted place.

    >>> dict(leaves({"a": [1, {"b": 2}]}))
    {'a[0]': 1, 'a[1].b': 2}
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, f"{place}[{number}]")
    else:
        yield place, value


def of_model(model: nn.Module) -> dict[str, str]:
    """A digest of every parameter and every buffer, whether it is saved or not."""
    return {name: digest(value) for name, value in (*model.named_parameters(), *model.named_buffers())}


def of_optimizer(optimizer: Optimizer, model: nn.Module) -> dict[str, str]:
    """A digest of all that an optimizer keeps for each parameter."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{key} of {names.get(parameter, 'a parameter')}": digest(value)
        for parameter, kept in optimizer.state.items()
        for key, value in kept.items()
    }


def of_generators() -> dict[str, str]:
    """A digest of the state of each generator of this process."""
    return {
        "random": digest(random.getstate()),
        "numpy.random": digest([digest(part) for part in np.random.get_state()]),
        "torch": digest(torch.get_rng_state()),
    }

"""The weights alone as a ``.safetensors`` file, for programs that know nothing of a checkpoint.

The format is that of https://github.com/huggingface/safetensors: eight bytes with the header's length, the header in
JSON, the values. It is written here since the library does not bring a file to the disk, and does not say when the disk
is full; any program reads it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from ignition.checkpoint_file.content import Payload
from ignition.checkpoint_file.file import BadCheckpoint, put_in_place
from ignition.checkpoint_file.modules import state_of

_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
}  # fmt: skip
_CHUNK = 2**20


def choose_weights(safetensors: bool | str, modules: dict[str, nn.Module]) -> tuple[str, ...]:
    """Whose weights are written: those of all modules, of the one that is named, or of none.

    Raises:
        ValueError: there are no such weights, or such a file cannot hold them; names them.
    """
    if not safetensors:
        return ()
    chosen = [safetensors] if isinstance(safetensors, str) else list(modules)
    if not chosen or not set(chosen) <= set(modules):
        known = ", ".join(modules) or "none among the objects"
        raise ValueError(f"safetensors is {safetensors!r}; it takes the weights of modules: {known}")
    for name, tensor in _tensors({name: state_of(modules[name]) for name in chosen}, chosen):
        if tensor.dtype not in _TYPES or tensor.layout != torch.strided:
            raise ValueError(f"safetensors has no place for '{name}', which is {tensor.dtype}, {tensor.layout}")
    return tuple(chosen)


def save_weights(path: Path, payload: Payload, names: Collection[str]) -> None:
    """Write the weights under ``names`` of a checkpoint to ``path``, whole or not at all.

    Those of one module have their plain names; of several, ``<module>.<name>``. Each name has its own values, tied ones
    too. What is no tensor is left out. The header's metadata say ``iteration``, ``score``, ``metric`` and ``mode``.

    Raises:
        OSError: it could not be written; what was there stays.
    """
    # As the library has it: larger elements first, so that each tensor begins where its kind may.
    tensors = sorted(_tensors(payload, names), key=lambda item: (-item[1].element_size(), item[0]))
    values = [(name, tensor.detach().cpu().contiguous()) for name, tensor in tensors]
    header = _header(values, _told(payload, names))

    def write(file: BinaryIO) -> None:
        file.write(header)
        for _, tensor in values:
            file.write(_bytes(tensor))

    put_in_place(path, write, _check_sum, lambda: len(header) + sum(tensor.nbytes for _, tensor in values))


def is_of(path: Path, checkpoint: Payload, names: Collection[str]) -> bool:
    """Whether ``path`` is whole and has these weights of this checkpoint, of which its numbers and words are enough."""
    try:
        metadata = _check_sum(path)
    except (OSError, BadCheckpoint):
        return False
    told = _told(checkpoint, names)
    return {name: metadata.get(name) for name in told} == told


def _tensors(payload: Payload, names: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for name in names:
        for key, value in payload[name].items():
            if isinstance(value, torch.Tensor):
                yield (key if len(names) == 1 else f"{name}.{key}"), value


def _told(checkpoint: Payload, names: Collection[str]) -> dict[str, str]:
    told = {name: checkpoint.get(name) for name in ("iteration", "score", "metric", "mode")}
    told["weights_of"] = ", ".join(names)
    return {name: str(value) for name, value in told.items() if value is not None}


def _header(values: list[tuple[str, torch.Tensor]], told: dict[str, str]) -> bytes:
    end = 0
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **told}}
    for name, tensor in values:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header["__metadata__"]["crc32"] = _sum_of(header, (_bytes(tensor) for _, tensor in values))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _sum_of(header: dict[str, Any], values: Iterable[bytes | memoryview]) -> str:
    """The sum of a whole file: the format itself has none."""
    sum_ = zlib.crc32(json.dumps(header).encode())
    for part in values:
        sum_ = zlib.crc32(part, sum_)
    return f"{sum_:08x}"


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _check_sum(path: Path) -> dict[str, str]:
    """Read a file of weights back; its metadata."""
    with open(path, "rb") as file:
        try:
            length = min(int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size)
            header = json.loads(file.read(length))
            metadata = header["__metadata__"]
            expected = metadata.pop("crc32")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadCheckpoint(path, "has no header", damaged=True) from error
        found = _sum_of(header, iter(partial(file.read, _CHUNK), b""))
    if found != expected:
        raise BadCheckpoint(path, "is damaged (its sum is wrong)", damaged=True)
    return metadata

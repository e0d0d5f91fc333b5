"""A state as it is now, in host memory, so that it can be written while it goes on to change."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from ignition.checkpoint_file.content import Payload


class HostCopy:
    """Copies what a checkpoint may hold, down to the last list, into buffers that are kept for the next copy.

    Tensors that share memory share it in the copy too, so it takes no more room than the state itself, and a file
    written from it is the one that would be written from the state. Copies from a CUDA device are only begun in `take`,
    into pinned memory: what the loop then does on its stream comes after them, and `wait` is for who reads them.

    A copy is good until the next is taken.

    >>> weight = torch.ones(2)
    >>> copy = HostCopy()
    >>> state = copy.take({"model": {"weight": weight}})
    >>> _ = weight.zero_()
    >>> copy.wait()
    >>> state["model"]["weight"]
    tensor([1., 1.])
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, bool], list[torch.UntypedStorage]] = {}
        self._begun: list[torch.cuda.Event] = []

    def take(self, payload: Payload) -> Payload:
        """The copy, in the state in which ``payload`` is now."""
        self.wait()
        copying = _Copying(self._buffers)
        copy = copying.of(payload)
        self._buffers = copying.used
        for target, source in zip(copying.targets, copying.sources, strict=True):
            target.copy_(source, non_blocking=source.is_cuda)
        for device in {source.device for source in copying.sources if source.is_cuda}:
            self._begun.append(torch.cuda.Event())
            self._begun[-1].record(torch.cuda.current_stream(device))
        return copy

    def wait(self) -> None:
        """Wait until the copy is there."""
        for event in self._begun:
            event.synchronize()
        self._begun = []


class _Copying:
    """One walk through a state: a copy of all but the tensors' values, and the memory to be copied for these."""

    def __init__(self, kept: dict[tuple[int, bool], list[torch.UntypedStorage]]):
        self.kept = kept
        self.used: dict[tuple[int, bool], list[torch.UntypedStorage]] = defaultdict(list)
        self.sources: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []
        self._seen: dict[int, torch.UntypedStorage] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            there = type(value)()
            for key, item in value.items():
                there[key] = self.of(item)
            for name, item in getattr(value, "__dict__", {}).items():  # as the _metadata of a module's state
                setattr(there, name, self.of(item))
            return there
        if type(value) in (list, tuple):
            return type(value)(self.of(item) for item in value)
        return value  # plain, so it never changes

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta:
            return tensor.detach()
        if tensor.layout != torch.strided or tensor.is_quantized:
            return tensor.detach().to("cpu", copy=True)
        plain = tensor.detach().resolve_conj().resolve_neg()
        copy = torch.empty(0, dtype=plain.dtype).set_(
            self._memory(plain), plain.storage_offset(), plain.size(), plain.stride()
        )
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(copy, tensor.requires_grad)
        return copy.requires_grad_(tensor.requires_grad)

    def _memory(self, tensor: torch.Tensor) -> torch.UntypedStorage:
        """The host memory in which the tensor's own is copied: one for all tensors that share it."""
        source = tensor.untyped_storage()
        if source._cdata not in self._seen:
            size, pinned = source.nbytes(), source.device.type == "cuda"
            free = self.kept.get((size, pinned))
            target = free.pop() if free else _allocate(size, pinned)
            self.used[size, pinned].append(target)
            self._seen[source._cdata] = target
            self.sources.append(_bytes(source))  # which also keeps it, so that its number stays its own
            self.targets.append(_bytes(target))
        return self._seen[source._cdata]


def _allocate(size: int, pinned: bool) -> torch.UntypedStorage:
    if pinned:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True).untyped_storage()
        except RuntimeError:  # there is only so much memory that can be pinned
            pass
    return torch.UntypedStorage(size)


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)

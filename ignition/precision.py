"""Where numbers live and how wide they are: device, memory layout, automatic mixed precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.optim import Optimizer

MODES = ("off", "auto", "bf16", "fp16")


class Precision:
    """Places batches on a device and runs forward and backward passes at the width asked for.

    Args:
        device: where to compute.
        amp: ``off`` (float32), ``bf16``, ``fp16``, which scales losses (``GradScaler``) since its range is small, or
            ``auto``: bf16 on a GPU that computes it in hardware, and off elsewhere, see `computes_bf16`.
        channels_last: lay image batches [B,C,H,W] out with channels innermost, which convolutions prefer.

    Raises:
        ValueError: an unknown ``amp``.
    """

    def __init__(self, device: torch.device | str = "cpu", *, amp: str = "off", channels_last: bool = False):
        if amp not in MODES:
            raise ValueError(f"amp is {amp!r}; it can be one of {', '.join(MODES)}")
        self.device = torch.device(device)
        self.amp, self.channels_last = amp, channels_last
        if amp == "auto":
            self.amp = "bf16" if computes_bf16(self.device) else "off"
        self.scaler = torch.amp.GradScaler(self.device.type) if amp == "fp16" else None

    def place(self, batch: Any) -> Any:
        """The batch on the device, without waiting for the copy; what is not a tensor goes through as it is."""
        return _apply(batch, self._place)

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.channels_last and tensor.ndim == 4 and tensor.is_floating_point():
            return tensor.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return tensor.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which forward passes and losses run."""
        if self.amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.amp == "bf16" else torch.float16)

    @property
    def loss_scale(self) -> float:
        """What losses are multiplied by before the backward pass: 1 except under fp16."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def backward(self, loss: torch.Tensor) -> None:
        """Backward pass; under fp16 of the scaled loss."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def unscale(self, optimizer: Optimizer) -> None:
        """Bring gradients back to their true size."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """Let the optimizer step; under fp16 only if no gradient overflowed."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)

    def update(self) -> None:
        """After a step, taken or left out: adapt the loss scale (fp16)."""
        if self.scaler is not None:
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale and its history; empty without fp16."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved loss scale. A state of another ``amp`` leaves the fresh scale, which finds its level."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


def computes_bf16(device: torch.device) -> bool:
    """Whether ``device`` can be trusted with bf16: a GPU with instructions for it. Emulated, it is slower than float32.

    A CPU cannot, though it may have them: in torch 2.15 (oneDNN, AMD with AVX512-bf16) gradients of small 3D
    convolutions read memory that was never written (off by up to 1e36, another value in each run), and a sweep over
    random shapes ended in a corrupted heap.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _apply(batch: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """``function`` over the tensors of nested dicts, lists and (named) tuples."""
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: _apply(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_apply(value, function) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(_apply(value, function) for value in batch)
    return batch

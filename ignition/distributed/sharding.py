"""Weights that are shared out over processes (torch's fully_shard): each one's own share of them, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

from ignition import distributed


def is_shared_out(tensor: Any) -> bool:
    """Whether each process has a share of this tensor only.

    >>> is_shared_out(torch.ones(2))
    False
    """
    return type(tensor).__name__ == "DTensor"  # to import its class takes longer than all that is asked of it here


def own_share(tensor: torch.Tensor) -> torch.Tensor:
    """What this process has of a tensor, in the same memory; the tensor itself where nothing is shared out."""
    if not is_shared_out(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()  # type: ignore[attr-defined, no-any-return]


def own_shares(tensors: list[Any]) -> list[Any]:
    """`own_share` of each, which are of one model: all are shared out, or none."""
    return [own_share(tensor) for tensor in tensors] if tensors and is_shared_out(tensors[0]) else tensors


def over_all_shares(norms: torch.Tensor, tensors: Sequence[torch.Tensor], order: float) -> torch.Tensor:
    """Norms [tensors] of the own shares of ``tensors``, made those of the whole ones. Nobody waits for a GPU.

    Args:
        order: 2.0, or infinity.
    """
    if not tensors or not is_shared_out(tensors[0]):
        return norms
    group = tensors[0].device_mesh.get_group()  # type: ignore[attr-defined]
    if order == 2.0:
        squares = norms.square()
        dist.all_reduce(squares, op=dist.ReduceOp.SUM, group=group)
        return squares.sqrt()
    highest = norms.clone()
    dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=group)
    return highest


def gathered(state: Any) -> Any:
    """A state with whole tensors in place of shares: on process 0, in host memory; the others get empty ones.

    To be called by all processes together. One tensor at a time is whole on a device.
    """

    def gather(tensor: Any) -> torch.Tensor:
        whole = tensor.detach().full_tensor()
        return whole.cpu() if distributed.rank() == 0 else whole.new_empty(0, device="cpu")

    return state if distributed.world_size() == 1 else _replaced(state, gather)


def own_part(state: Any) -> Any:
    """A state with this process's shares in place of tensors that are shared out, in the same memory."""
    return _replaced(state, own_share)


def like(value: Any, tensor: Any) -> Any:
    """``value``, the whole or this process's share, shared out as ``tensor`` is; itself where that is not, or differs.

    Nothing is sent: each process takes its share of the whole, which all of them have.
    """
    if not is_shared_out(tensor) or is_shared_out(value) or not isinstance(value, torch.Tensor):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements
    value = value.detach()
    if value.shape == tensor.shape:
        return distribute_tensor(value.to(tensor.device), mesh, placements, src_data_rank=None)
    if value.shape == own_share(tensor).shape:
        there = value.to(tensor.device)
        return DTensor.from_local(there, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride())
    return value


def _replaced(state: Any, replace: Any) -> Any:
    if is_shared_out(state):
        return replace(state)
    if isinstance(state, dict):
        there = type(state)()
        for key, item in state.items():
            there[key] = _replaced(item, replace)
        return there
    if type(state) in (list, tuple):
        return type(state)(_replaced(item, replace) for item in state)
    return state


def sharded_parts(model: nn.Module) -> list[Any]:
    """The modules of ``model`` whose weights travel together; none where it is not shared out."""
    return [module for module in model.modules() if hasattr(module, "unshard")]


class WholeWeights:
    """Gives every process the whole weights while an engine runs, so that none has to wait for others in it.

    Processes may have different numbers of batches to evaluate, and to gather weights takes all of them.

    Args:
        model: shared out by ``fully_shard``, or not, which leaves nothing to do.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    def attach(self, engine: Engine) -> None:
        """Gather as ``engine`` starts, and let go when it ends, in whatever way."""
        if not sharded_parts(self.model):
            return
        engine.add_event_handler(Events.STARTED, lambda engine: self.gather())
        for end in (Events.COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED):
            engine.add_event_handler(end, self._end)

    def gather(self) -> None:
        """All weights are whole from here on; for all processes together."""
        for part in sharded_parts(self.model):
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def let_go(self) -> None:
        """Each process has its share alone again."""
        for part in sharded_parts(self.model):
            part.reshard()
            # What the whole model has besides its blocks is needed first in the backward pass: torch's own default.
            part.set_reshard_after_forward(part is not self.model, recurse=False)

    def _end(self, engine: Engine, error: BaseException | None = None) -> None:
        self.let_go()
        if error is not None:
            raise error  # a handler on EXCEPTION_RAISED that does not raise would swallow the error

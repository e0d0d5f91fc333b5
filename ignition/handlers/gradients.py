"""The gradients of one step: their common norm, and ways to work on all of them in few kernels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ignition.distributed.sharding import over_all_shares, own_shares

# A float where reading waits for nothing, on the CPU; elsewhere a 0-dim tensor that is never read. What rules compute
# with it is written once for both.
Number = Any
HALVES = (torch.float16, torch.bfloat16)


class Gradients:
    """The gradients of one step, as rules are given them.

    Attributes:
        parameters: those that have a gradient with elements in it.
        tensors: their gradients; of a sparse one its values, [touched rows, ...], equal rows added up; where weights
            are shared out over processes, the own shares of them.
        norm: the L2 norm of all together, 0-dim, float32 or wider, on the device of the first.
        size: the norm where it is finite, and 0 where it is not: no limit is exceeded then.
        sparse: parameters with a sparse gradient, and that gradient with equal rows added up.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self.parameters: list[nn.Parameter] = []
        self.tensors: list[torch.Tensor] = []
        self.sparse: list[tuple[nn.Parameter, torch.Tensor]] = []
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None or not gradient.numel():
                continue
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                self.sparse.append((parameter, gradient))
                gradient = gradient._values()
            self.parameters.append(parameter)
            self.tensors.append(gradient)
        self._whole, self.tensors = self.tensors, own_shares(self.tensors)
        self.norm = torch.linalg.vector_norm(self.norms()) if self.tensors else torch.zeros(())
        self.size = number(self.norm.nan_to_num(nan=0.0, posinf=0.0))

    def norms(self, order: float = 2.0) -> torch.Tensor:
        """The norm of each gradient, [tensors], over all processes; real and imaginary parts count by themselves."""
        return norms(map(real_view, self._whole) if order != 2.0 else self._whole, order)

    def own(self) -> None:
        """Make ``tensors`` what the optimizer will see, so that it counts to change them in place."""
        for parameter, gradient in self.sparse:
            parameter.grad = gradient

    def scale(self, limit: Number, over: Number, slack: float = 0.0) -> None:
        """Bring the common norm, with ``slack`` added to it, down to ``limit`` if it is ``over``."""
        self.own()
        factor = where(over, limit / (self.norm + slack), torch.ones_like(self.norm))
        for group in alike(self.tensors):
            here = group[0]
            # A factor of another type costs nothing on the CPU, and elsewhere one kernel for each gradient.
            torch._foreach_mul_(group, factor if here.device.type == "cpu" else factor.to(here))


def number(tensor: torch.Tensor) -> Number:
    """A 0-dim tensor as a `Number`, in double precision where the device has it."""
    if tensor.device.type == "cpu":
        return float(tensor)
    return tensor if tensor.device.type == "mps" else tensor.double()


def where(condition: Number, yes: Number, no: Number) -> Number:
    if isinstance(condition, torch.Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


def alike(tensors: Iterable[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Tensors of one device and type together, which is what one kernel takes."""
    groups: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def norms(tensors: Iterable[torch.Tensor], order: float = 2.0) -> torch.Tensor:
    """Norms of all tensors, [tensors] in their order, on the device of the first; of 16-bit tensors in float32.

    Of tensors that are shared out over processes they are the norms of the whole ones; all must ask together.
    """
    tensors = list(tensors)
    return over_all_shares(_norms_here(own_shares(tensors), order), tensors, order)


def _norms_here(tensors: list[torch.Tensor], order: float) -> torch.Tensor:
    if order != 2.0:  # a process may have no row of a small tensor, and nothing has no largest element
        tensors = [tensor if tensor.numel() else tensor.new_zeros(1) for tensor in tensors]
    found: dict[int, torch.Tensor] = {}
    for group in alike(tensors):
        part = torch._foreach_norm(group, order, dtype=torch.float32 if group[0].dtype in HALVES else None)
        if len(part) == len(tensors):  # all are alike
            return torch.stack(part)
        found.update(zip(map(id, group), part))
    return torch.stack([found[id(tensor)].to(tensors[0].device) for tensor in tensors])


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def read_together(norm: torch.Tensor, loss: torch.Tensor | float | None) -> tuple[float, float]:
    """Gradient norm and loss as numbers, with one transfer from the device; where there is no loss, it is 0."""
    if not isinstance(loss, torch.Tensor):
        return float(norm), 0.0 if loss is None else float(loss)
    loss = loss.detach()
    if norm.device.type == "cpu" and loss.device.type == "cpu":
        return float(norm), float(loss)
    norm_value, loss_value = torch.stack((norm.float(), loss.to(norm.device).float().reshape(()))).tolist()
    return norm_value, loss_value

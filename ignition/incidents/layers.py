"""How large the parameters of a model are, and what moves them: one row each."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ignition.checkpoint_file.modules import plain_name
from ignition.distributed.sharding import is_shared_out

Layer = dict[str, float]

MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam and its kin


def sizes(model: nn.Module, optimizer: Optimizer) -> dict[str, Layer]:
    """Of each parameter ``weight`` (L2 norm), ``largest`` (magnitude), ``not_finite`` (count), and its moments' norms.

    Of a parameter that is shared out over processes there are ``elements`` alone: one process has not the rest of it.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> sizes(model, torch.optim.SGD(model.parameters(), lr=0.1))["weight"]["largest"]
    3.0
    """
    found: dict[str, Layer] = {}
    places: list[tuple[Layer, tuple[str, ...]]] = []
    measured: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        row = found[plain_name(name)] = {"elements": parameter.numel()}
        if not parameter.numel() or is_shared_out(parameter):
            continue
        places.append((row, ("weight", "largest", "not_finite")))
        measured += _measures(parameter.detach())
        state = optimizer.state.get(parameter, {})
        for moment in MOMENTS:
            if isinstance(state.get(moment), torch.Tensor):
                places.append((row, (moment,)))
                measured.append(_measures(state[moment])[0])
    numbers = iter(_read(measured))
    for row, names in places:
        row.update({name: next(numbers) for name in names})
    return found


def norms_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The L2 norm of each."""
    numbers = _read([_measures(tensor.detach())[0] for tensor in tensors.values()])
    return dict(zip(tensors, numbers, strict=True))


def _measures(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Norm, largest magnitude and how many are not finite, 0-dim."""
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    values = torch.view_as_real(values) if values.is_complex() else values
    values = values.float()
    norm = torch.linalg.vector_norm(values)
    largest = values.abs().max() if values.numel() else norm
    return [norm, largest, (~values.isfinite()).sum().float()]


def _read(numbers: Sequence[torch.Tensor]) -> list[float]:
    """All of them with one wait for the device."""
    if not numbers:
        return []
    return torch.stack([number.to(numbers[0].device) for number in numbers]).tolist()


def write_csv(
    path: Path, layers: Mapping[str, Layer], iteration: int, measured: Mapping[str, Any] | None = None
) -> None:
    """Write `sizes` as they were after ``iteration``, and the last row about layers if there is one.

    Each column says after ``@`` of which iteration it is.

    Args:
        measured: a row ``{"iteration": i, "layers": {name: {"gradient": norm, "update": norm}}}``.

    Raises:
        OSError: it could not be written.
    """
    steps = measured["layers"] if measured else {}
    columns = {f"{name}@{iteration}": (layers, name) for name in ("weight", "largest", "not_finite", *MOMENTS)}
    columns |= {f"{name}@{measured['iteration']}": (steps, name) for name in ("gradient", "update")} if measured else {}
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["parameter", "elements", *columns])
        for name, layer in layers.items():
            cells = [_cell(rows.get(name, {}).get(number)) for rows, number in columns.values()]
            table.writerow([name, layer["elements"], *cells])


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.6g}"

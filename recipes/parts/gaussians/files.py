"""Reading files of fitted 2D Gaussians: ``.npz`` with one array, and what Image-GS saves (``.pt``)."""

from __future__ import annotations

import pickle  # its error alone; nothing is unpickled  # nosec B403
import zipfile
from pathlib import Path

import numpy as np
import torch

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.form import check_gaussians

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError)
IMAGE_GS = {"xy": 2, "scale": 2, "rot": 1, "feat": 3}  # its tensors and their columns
NESTED = ("state_dict", "model", "params")
SUFFIXES = (".npz", ".pt", ".pth")


def read_gaussians(path: Path) -> torch.Tensor:
    """The Gaussians [N,8] of one picture, as stored (`recipes.parts.gaussians.form`).

    Args:
        path: ``.npz`` with ``gaussians`` (N,8), or ``.pt`` with Image-GS's ``xy``, ``scale``, ``rot`` and ``feat``
            (its scales are inverse ones unless it was told otherwise). Opened as arrays only: no file can run code.

    Raises:
        DataError: missing, damaged, or not such a file; Gaussians that are not finite. Names file and row.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: Gaussians are read from {', '.join(SUFFIXES)}")
    stored = _read_npz(path) if path.suffix.lower() == ".npz" else _read_image_gs(path)
    try:
        return check_gaussians(stored)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _read_npz(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "gaussians" not in arrays.files:
                raise DataError(f"{path} has no array 'gaussians' (it has: {', '.join(arrays.files) or 'none'})")
            stored: np.ndarray = arrays["gaussians"]
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if stored.dtype.kind not in "fiu":
        raise DataError(f"{path}: 'gaussians' is {stored.dtype}; expected numbers")
    return stored


def _read_image_gs(path: Path) -> torch.Tensor:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    for name in NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; expected a dict with {', '.join(IMAGE_GS)}")
    missing = [name for name in IMAGE_GS if not isinstance(content.get(name), torch.Tensor)]
    if missing:
        raise DataError(f"{path} has no {', no '.join(missing)} (it has: {', '.join(map(str, content)) or 'nothing'})")
    parts = {name: content[name].detach().float() for name in IMAGE_GS}
    count = len(parts["xy"])
    for name, columns in IMAGE_GS.items():
        if parts[name].numel() != count * columns or parts[name].shape[0] != count:
            shape = tuple(parts[name].shape)
            raise DataError(f"{path}: '{name}' is {shape}; expected ({count}, {columns}), as 'xy' has {count} rows")
    return torch.cat([parts[name].reshape(count, -1) for name in IMAGE_GS], 1)

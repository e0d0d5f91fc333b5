"""Weights from a file into a model that need not be the one they were saved from; parts that stay as they are."""

from __future__ import annotations

import functools
import pickle  # its error alone; nothing is unpickled  # nosec B403
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import nn

Shape = tuple[int, ...]
NESTED = ("model", "state_dict", "model_state_dict")  # where checkpoints keep a model's weights


@dataclass(frozen=True)
class LoadReport:
    """What `load_matching` did, by the names of the model's and of the file's tensors.

    Attributes:
        source: the file, or "state dict".
        matched: the model's tensors that were loaded.
        missing: the model's tensors that the file does not have; they kept their values.
        unused: the file's tensors that the model has no place for.
        other_shape: by the model's name, its shape and the file's; these kept their values too.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    other_shape: Mapping[str, tuple[Shape, Shape]]

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.other_shape)
        lines = [f"{self.source}: {len(self.matched)} of the model's {total} tensors loaded"]
        for title, names in (("not in the file, left as they were", self.missing), ("not used", self.unused)):
            if names:
                lines.append(f"  {title} ({len(names)}): {_some(names)}")
        if self.other_shape:
            shapes = [f"{name} {mine} here, {theirs} in the file" for name, (mine, theirs) in self.other_shape.items()]
            lines.append(f"  another shape, left as they were ({len(shapes)}): {_some(shapes, separator='; ')}")
        return "\n".join(lines)


def weights_file(place: str, *, recipe: str) -> str:
    """The file that ``recipe.pretrained`` names: a run folder stands for its best weights.

    Args:
        recipe: the recipe that trains such weights, for the message.

    Raises:
        ValueError: there is no such file or folder.
    """
    best = Path(place) / "checkpoints" / "best.pt"
    if best.is_file():
        return str(best)
    if not Path(place).exists():
        raise ValueError(
            f"recipe.pretrained: there is no {place}. Train one first, for instance with "
            f"'python -m ignition.run {recipe}', or name another run or file"
        )
    return place


def load_matching(model: nn.Module, source: Mapping[str, torch.Tensor] | str | Path, *, prefix: str = "") -> LoadReport:
    """Load into ``model``, in place, every tensor of ``source`` that has its name and shape.

    ``module.`` and ``_orig_mod.``, which wrappers for many processes and for compilation add to names, do not count.

    Args:
        source: a state dict, or a checkpoint that keeps one under "model" or "state_dict", or a ``.pt``, ``.pth`` or
            ``.safetensors`` file of one. Files are opened as tensors only, so that none can run code.
        prefix: only names that begin with it are looked at, and it is taken off: "encoder." loads the encoder of a
            saved model into an encoder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing matches, or the file cannot be read or holds something else.

    >>> report = load_matching(nn.Linear(2, 1), {"module.weight": torch.ones(1, 2), "bias": torch.ones(3)})
    >>> print(report)
    state dict: 1 of the model's 2 tensors loaded
      another shape, left as they were (1): bias (1,) here, (3,) in the file
    """
    origin = "state dict" if isinstance(source, Mapping) else str(source)
    state = _named_tensors(source, origin) if isinstance(source, Mapping) else read_state_dict(source)
    prefix = _plain(prefix)
    offered = {
        _plain(name).removeprefix(prefix): value for name, value in state.items() if _plain(name).startswith(prefix)
    }
    own = {_plain(name): (name, tensor) for name, tensor in model.state_dict().items()}
    chosen, missing, other_shape = {}, [], {}
    for plain, (name, tensor) in own.items():
        if plain not in offered:
            missing.append(name)
        elif offered[plain].shape != tensor.shape:
            other_shape[name] = (tuple(tensor.shape), tuple(offered[plain].shape))
        else:
            chosen[name] = offered[plain]
    if not any(value.ndim for value in chosen.values()):  # counters alone (0-dim) are no weights
        theirs = offered or state
        raise ValueError(
            f"{origin}: nothing in it fits the model. The model's tensors: {_described(dict(own.values()))}. "
            f"In the file: {_described(theirs)}. Is it of another model, or is `prefix` ({prefix!r}) wrong?"
        )
    model.load_state_dict(chosen, strict=False)
    unused = tuple(name for name in offered if name not in own)
    return LoadReport(origin, tuple(chosen), tuple(missing), unused, other_shape)


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors by name in a ``.pt``, ``.pth`` or ``.safetensors`` file, on the CPU; `load_matching` says which.

    Raises:
        FileNotFoundError, ValueError: as `load_matching`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    return _named_tensors(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path), str(path))


def freeze(module: nn.Module) -> None:
    """Keep ``module`` as it is: no gradients, and evaluation mode even after ``train()`` of what it is a part of.

    So BatchNorm keeps its statistics, which ``requires_grad`` alone does not do, and dropout is off. It survives
    copying and pickling; `unfreeze` undoes it.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    >>> freeze(model[0])
    >>> model.train()[0].training, model[1].training
    (False, True)
    """
    module.requires_grad_(False)
    module.eval()
    # On the object, not on a subclass: names of classes, and so saved models, stay the same.
    module.train = functools.partial(_stay, module)  # type: ignore[method-assign]


def unfreeze(module: nn.Module) -> None:
    """Let ``module`` learn again, and follow ``train()`` and ``eval()``; it starts in training mode."""
    module.__dict__.pop("train", None)
    module.requires_grad_(True)
    module.train()


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """``Module.train`` of a frozen module."""
    return module


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, because it is no file of plain tensors: opening it could run code. Where you trust it, "
            f"save its `state_dict()` anew and use that file. ({_first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read, perhaps cut short: {_first_line(error)}") from error


def _read_safetensors(path: Path) -> Any:
    try:
        return load_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read, perhaps cut short: {_first_line(error)}") from error


def _named_tensors(content: Any, origin: str) -> dict[str, torch.Tensor]:
    """The state dict that ``content`` is or holds."""
    tensors = {}
    if isinstance(content, Mapping):
        state = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), content)
        tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        held = f"a dict of {_some(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{origin}: holds no tensors by name but {held}; save `model.state_dict()`")
    return tensors


def _plain(name: str) -> str:
    """``name`` without what wrappers add: "module." in front, "_orig_mod." anywhere."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def _described(tensors: Mapping[str, torch.Tensor]) -> str:
    return _some([f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()])


def _some(names: Iterable[str], *, count: int = 4, separator: str = ", ") -> str:
    names = list(names)
    return separator.join(names[:count]) + (f"{separator}..." if len(names) > count else "")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

"""What a checkpoint may hold: nothing that runs when it is loaded, and no broken weights."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

Payload = dict[str, Any]

_PLAIN = (str, int, float, bool, bytes, complex, type(None), torch.dtype, torch.device, torch.Size)


class NotFinite(ValueError):
    """Weights with NaN or infinity in them; names the tensors."""


def check_plain(value: Any, place: str = "") -> None:
    """Refuse what a checkpoint cannot hold, because it could not be loaded again without running code.

    >>> check_plain({"model": {"weight": torch.ones(1)}, "settings": {"sizes": {1, 2}}})
    Traceback (most recent call last):
        ...
    TypeError: settings.sizes is a set; a checkpoint holds tensors, numbers, text, lists and dicts
    """
    if type(value) in (torch.Tensor, torch.nn.Parameter, *_PLAIN):
        return
    if type(value) in (dict, OrderedDict, Counter):
        for key, item in value.items():
            check_plain(key, f"a key of {place or 'the checkpoint'}")
            check_plain(item, f"{place}.{key}" if place else str(key))
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            check_plain(item, f"{place}[{number}]")
    else:
        raise TypeError(
            f"{place or 'this'} is a {type(value).__name__}; a checkpoint holds tensors, numbers, text, lists and dicts"
        )


def moved(value: Any, device: str | torch.device) -> Any:
    """``value`` with all its tensors on ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        there = type(value)()
        for key, item in value.items():
            there[key] = moved(item, device)
        return there
    if type(value) in (list, tuple):
        return type(value)(moved(item, device) for item in value)
    return value


def check_finite(payload: Mapping[str, Any], names: Iterable[str] = ("model",)) -> None:
    """Raise `NotFinite` if a tensor under one of ``names`` has NaN or infinity in it.

    Tensors listed under ``not_finite`` are so by design (an attention mask of -inf) and are passed over.
    """
    meant = set(payload.get("not_finite", ()))
    found = [
        (place, tensor)
        for name in names
        for place, tensor in tensors(payload.get(name), name)
        if place not in meant and tensor.numel() and (tensor.is_floating_point() or tensor.is_complex())
    ]
    if _all_finite([tensor for _, tensor in found]):
        return
    bad = [place for place, tensor in found if not is_finite(tensor)]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    raise NotFinite(f"has values that are not finite in {', '.join(bad[:3])}{more}")


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity in it.

    >>> is_finite(torch.tensor([1.0, float("nan")])), is_finite(torch.tensor([1, 2]))
    (False, True)
    """
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return _all_finite([tensor])


def _all_finite(found: Iterable[torch.Tensor]) -> bool:
    """Whether all of these, which are floats and not empty, are finite; waits for a device once, not once a tensor."""
    extremes: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in found:
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor.resolve_conj())
        elif tensor.element_size() == 1:  # torch cannot order 8-bit floats
            tensor = tensor.float()
        # NaN is passed on by aminmax, which is fifteen times as fast as to ask each element.
        extremes.setdefault((tensor.device, tensor.dtype), []).extend(tensor.detach().aminmax())
    return all(bool(torch.stack(values).isfinite().all()) for values in extremes.values())


def tensors(value: Any, place: str) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors within ``value``, with their dotted places."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from tensors(item, f"{place}[{number}]")

"""What services are told of a run: the numbers of a row, pictures as pixels, and nothing of it twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image

PLACE = ("time", "iteration", "epoch")  # say where a row belongs and are no curves


def numbers_of(row: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of a row by name, without those that say where it belongs.

    >>> numbers_of({"iteration": 3, "loss": 0.5, "done": True, "what": "a word"})
    {'loss': 0.5}
    """
    return {
        name: value if isinstance(value, (int, float)) else float(value)
        for name, value in row.items()
        if name not in PLACE and isinstance(value, Real) and not isinstance(value, bool)
    }


def pixels_of(name: str, image: torch.Tensor) -> np.ndarray:
    """A picture, float [C,H,W] in 0..1 with 1, 3 or 4 channels, as uint8; values beyond are cut off, NaN is black.

    Raises:
        ValueError: it has another shape.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(f"{name} has shape {list(image.shape)}; an image is [C,H,W] with 1, 3 or 4 channels")
    image = image.detach().float().nan_to_num(nan=0.0).clamp(0, 1)
    return (image * 255).round().to(torch.uint8).cpu().numpy()


def picture_of(name: str, image: torch.Tensor) -> Image.Image:
    """The same as Pillow has it."""
    pixels = pixels_of(name, image).transpose(1, 2, 0)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


class Told:
    """How far a service was told of a run, so that a run which goes on from before does not tell it again.

    Attributes:
        iteration: the highest that it has.
        names: what it has of that one.

    >>> told = Told()
    >>> told.fresh(5, {"loss": 1.0}), told.fresh(5, {"loss": 1.0, "rate": 2.0}), told.fresh(4, {"loss": 3.0})
    ({'loss': 1.0}, {'rate': 2.0}, {})
    """

    def __init__(self, iteration: int = -1, names: Iterable[str] = ()):
        self.iteration, self.names = iteration, set(names)

    def fresh(self, iteration: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``values`` that it has not been told of; from here on it has."""
        if iteration < self.iteration:
            return {}
        if iteration > self.iteration:
            self.iteration, self.names = iteration, set()
        fresh = {name: value for name, value in values.items() if name not in self.names}
        self.names |= fresh.keys()
        return fresh

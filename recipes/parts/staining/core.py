"""A tissue core: its H&E picture and the markers measured on the same tissue, read by windows."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

Sample = dict[str, torch.Tensor]


class Window(NamedTuple):
    """A part of a core: its first row and column, height and width, px."""

    top: int
    left: int
    height: int
    width: int


class Core(Protocol):
    """What data sets are made of. Neighbouring patches of one core share stain and statistics."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""

    def read(self, window: Window) -> Sample:
        """``he`` float32 [3,H,W] in 0..1, ``target`` float32 [C,H,W] as stored, and ``valid`` bool [1,H,W].

        Raises:
            ValueError: what is stored cannot be used; names the file.
        """

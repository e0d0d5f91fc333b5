"""One picture with its boxes: what files say of it, and the sample that becomes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipes.parts.data_error import DataError

LEAST_IN_WINDOW = 0.3  # of a box's area
Sample = dict[str, torch.Tensor]


@dataclass(frozen=True)
class NamedBox:
    """A box as a file has it.

    Attributes:
        name: of its class.
        corners: x1, y1, x2, y2 in px of the picture; may reach outside.
        crowd: it stands for several objects that nobody has told apart; it is no truth to learn, nor a miss.
        place: file and line, or id, for messages.
    """

    name: str
    corners: tuple[float, float, float, float]
    place: str
    crowd: bool = False

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.corners
        if not all(map(math.isfinite, self.corners)):
            raise DataError(f"{self.place}: a corner of the box is no number: {self.corners}")
        if x2 < x1 or y2 < y1:
            raise DataError(f"{self.place}: the box ends before it begins: {self.corners} (x1, y1, x2, y2)")

    def clipped(self, width: float, height: float) -> tuple[float, float, float, float]:
        """The part of the box that is in the picture; without area if there is none."""
        x1, y1, x2, y2 = self.corners
        return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)

    @property
    def area(self) -> float:
        return (self.corners[2] - self.corners[0]) * (self.corners[3] - self.corners[1])


@dataclass(frozen=True)
class BoxedPicture:
    """A picture on disk and its boxes.

    Attributes:
        size: (width, height) in px, where the annotations say it.
    """

    path: Path
    boxes: Sequence[NamedBox] = field(default_factory=tuple)
    size: tuple[int, int] | None = None

    @property
    def measures(self) -> tuple[int, int]:
        """Width and height in px, as the annotations say or else the file."""
        if self.size is not None:
            return self.size
        with self.open() as image:
            return image.size

    def open(self) -> Image.Image:
        """The picture; its pixels are read when they are needed, and whoever opens it closes it.

        Raises:
            DataError: no such file, no picture, or of another size than the annotations say.
        """
        try:
            image = Image.open(self.path)
        except (OSError, Image.DecompressionBombError) as error:
            raise DataError(f"{self.path}: cannot be read as a picture: {_words(error)}") from error
        if self.size is not None and image.size != self.size:
            image.close()
            raise DataError(
                f"{self.path}: has {image.width} x {image.height} px, and {self.size[0]} x {self.size[1]} px in its "
                "annotations, which so are of another picture"
            )
        return image

    def sample(
        self,
        classes: Mapping[str, int],
        size: tuple[int, int] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> Sample:
        """The picture and its boxes; those without area in it, and those of other classes, are left out.

        ``image`` float32 [3,H,W] in 0..1; ``boxes`` float32 [N,4], x1 y1 x2 y2 in its px; ``labels`` int64 [N];
        ``crowd`` bool [N]; ``scale`` float32 [2], px of the picture on disk for one of the sample, across and down.

        Args:
            classes: the label of each class.
            size: (width, height) to which the picture is scaled; None is its own.
            window: left, upper, right and lower end in px of the part of the picture that is taken, before it is
                scaled; None is all of it. A box of which less than 30 % is in the window is left out.

        Raises:
            DataError: it cannot be read.
        """
        left, top, right, bottom = window or (0, 0, *self.measures)
        width, height = right - left, bottom - top
        target = size or (width, height)
        pixels = self._pixels(target, window)
        share = (target[0] / width, target[1] / height) * 2
        kept = []
        for box in self.boxes:
            x1, y1, x2, y2 = box.corners
            part = NamedBox(box.name, (x1 - left, y1 - top, x2 - left, y2 - top), box.place).clipped(width, height)
            area = (part[2] - part[0]) * (part[3] - part[1])
            if box.name in classes and area > (0 if window is None else LEAST_IN_WINDOW * box.area):
                kept.append((box, part))
        corners = [[value * factor for value, factor in zip(part, share)] for _, part in kept]
        return {
            "image": torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
            "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([classes[box.name] for box, _ in kept], dtype=torch.int64),
            "crowd": torch.tensor([box.crowd for box, _ in kept], dtype=torch.bool),
            "scale": torch.tensor([1 / share[0], 1 / share[1]], dtype=torch.float32),
        }

    def _pixels(self, target: tuple[int, int], window: tuple[int, int, int, int] | None) -> np.ndarray:
        """uint8 [height,width,3] of the ``target``."""
        with self.open() as image:
            try:
                if window is None:
                    image.draft("RGB", target)  # a JPEG is decoded at about the size wanted, which is faster
                picture = image.convert("RGB")
            except (OSError, SyntaxError) as error:  # PIL: SyntaxError of a broken PNG
                words = _words(error)
                raise DataError(f"{self.path}: cannot be read as a picture, perhaps cut short: {words}") from error
        if window is not None:
            picture = picture.crop(window)
        if picture.size != target:
            picture = picture.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.array(picture)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__

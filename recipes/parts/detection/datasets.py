"""Public detection data sets, and one's own in their formats, by name."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from recipes.parts.data_error import DataError
from recipes.parts.detection import coco_boxes, vindr_boxes, voc_boxes
from recipes.parts.detection.boxed_picture import BoxedPicture, Sample


class Format(NamedTuple):
    """How a data set lies on disk."""

    expected: str
    read: Callable[[Path, str], list[BoxedPicture]]


KNOWN = {
    "coco": Format(coco_boxes.EXPECTED, coco_boxes.read_coco),
    "voc": Format(voc_boxes.EXPECTED, voc_boxes.read_voc),
    "vindr": Format(vindr_boxes.EXPECTED, vindr_boxes.read_vindr),
}


class DetectionDataset(Dataset[Sample]):
    """Pictures with boxes, read when asked for; pictures without boxes are samples too.

    A sample is that of `recipes.parts.detection.boxed_picture`.

    Args:
        pictures: what the files say.
        classes: names, in the order of their labels; of equal ones the last counts.
        name, root: of the data set, for messages.
        short_sides: px of the shorter side that pictures are scaled to, one of them at random; None: as they are.
        longest: px that the longer side has at most.
        crop: chance that a window is taken, each side at least half of the picture's, at a random place.
    """

    def __init__(
        self,
        pictures: Sequence[BoxedPicture],
        *,
        classes: Sequence[str],
        name: str,
        root: str | Path = "",
        short_sides: Sequence[int] | None = None,
        longest: int = 1333,
        crop: float = 0.0,
    ):
        self.pictures, self.classes = list(pictures), tuple(classes)
        self.labels = {name: label for label, name in enumerate(classes)}
        self.name, self.root, self.short_sides, self.longest = name, root, short_sides, longest
        self.crop = crop

    @property
    def files(self) -> list[Path]:
        """The picture of each sample."""
        return [picture.path for picture in self.pictures]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        width, height = picture.measures
        if random.random() >= self.crop:
            return picture.sample(self.labels, self._size(width, height))
        across, down = (random.randint(-(-side // 2), side) for side in (width, height))
        left, top = random.randint(0, width - across), random.randint(0, height - down)
        window = (left, top, left + across, top + down)
        return picture.sample(self.labels, self._size(across, down), window)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        factor = random.choice(self.short_sides) / min(width, height) if self.short_sides else 1.0
        factor = min(factor, self.longest / max(width, height))
        return max(1, round(factor * width)), max(1, round(factor * height))

    def describe(self) -> list[str]:
        """What the annotations say, in words: boxes of each class, and what is odd about them."""
        return describe_pictures(self.pictures, self.classes)


def detection_dataset(
    name: str,
    root: str | Path,
    *,
    classes: Sequence[str],
    split: str = "train",
    other_classes: str = "refuse",
    short_sides: Sequence[int] | None = None,
    longest: int = 1333,
    crop: float = 0.0,
) -> DetectionDataset:
    """The part ``split`` (train, val or test) of the data set ``name`` in ``root``.

    Args:
        name: a key of ``KNOWN``; each one's ``expected`` says how the files lie.
        classes, short_sides, longest, crop: see `DetectionDataset`.
        other_classes: boxes of classes that are not in ``classes``: ``refuse`` or ``leave_out``.

    Raises:
        ValueError: an unknown name.
        DataError: no such folder, a file is missing or wrong, or a class is unknown.
    """
    if name not in KNOWN:
        raise ValueError(f"no detection data set {name!r} (known: {', '.join(sorted(KNOWN))})")
    root = Path(root)
    if not root.exists():
        raise DataError(f"no folder {root}. {name} wants: {KNOWN[name].expected}")
    pictures = KNOWN[name].read(root, split)
    if not pictures:
        raise DataError(f"no pictures of '{split}' in {root}. {name} wants: {KNOWN[name].expected}")
    if other_classes == "refuse":
        _refuse_unknown(pictures, classes)
    return DetectionDataset(
        pictures,
        classes=classes,
        name=f"{name} '{split}'",
        root=root,
        short_sides=short_sides,
        longest=longest,
        crop=crop,
    )


def describe_pictures(pictures: Sequence[BoxedPicture], classes: Sequence[str]) -> list[str]:
    """Lines that count boxes of each class, crowds, empty pictures, and boxes that are odd."""
    boxes = [box for picture in pictures for box in picture.boxes]
    counts = Counter(box.name for box in boxes)
    shown = ", ".join(f"{name} {counts[name]:,}" for name in classes)
    lines = [f"boxes: {len(boxes):,} ({shown})"]
    unknown = sum(count for name, count in counts.items() if name not in classes)
    empty = sum(not picture.boxes for picture in pictures)
    lines.append(f"pictures without boxes: {empty:,}; crowds: {sum(box.crowd for box in boxes):,}")
    if unknown:
        lines.append(f"boxes of other classes, left out: {unknown:,}")
    odd: dict[str, list[str]] = {
        "boxes without area, left out": [box.place for box in boxes if box.area == 0],
        "boxes that reach outside, cut": [],
        "pictures that cannot be opened": [],
    }
    for picture in pictures:
        try:
            width, height = picture.measures
        except DataError as error:
            odd["pictures that cannot be opened"].append(str(error))
            continue
        outside = (box.place for box in picture.boxes if box.area and box.clipped(width, height) != box.corners)
        odd["boxes that reach outside, cut"].extend(outside)
    lines += [f"{what}: {len(places):,}, the first in {places[0]}" for what, places in odd.items() if places]
    return lines


def describe_samples(dataset: Dataset[Sample], classes: Sequence[str], *, most: int = 64) -> list[str]:
    """The same of data that no file describes, by its first samples."""
    samples = [dataset[index] for index in range(min(most, len(dataset)))]  # type: ignore[arg-type]
    labels = torch.cat([sample["labels"] for sample in samples])
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(classes, counts))
    empty = sum(len(sample["labels"]) == 0 for sample in samples)
    return [f"boxes of {len(samples)} samples: {len(labels):,} ({shown})", f"pictures without boxes: {empty:,}"]


def _refuse_unknown(pictures: Sequence[BoxedPicture], classes: Sequence[str]) -> None:
    boxes = [box for picture in pictures for box in picture.boxes]
    strangers = [box for box in boxes if box.name not in classes]
    if strangers:
        found = ", ".join(sorted({box.name for box in boxes}))
        raise DataError(
            f"{strangers[0].place}: class '{strangers[0].name}' is not in recipe.classes ({', '.join(classes)}). "
            f"There are: {found}. Name them all, or say recipe.other_classes=leave_out"
        )

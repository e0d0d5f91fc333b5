"""Cores as data to train on and to evaluate: random patches, whole cores; split by core and never by patch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset, default_collate

from recipes.parts.data_error import DataError
from recipes.parts.recordings import split_by_recording
from recipes.parts.staining.channel_scaler import whole
from recipes.parts.staining.core import Core, Sample, Window
from recipes.parts.staining.layouts import KNOWN
from recipes.parts.staining.procedural_cores import ProceduralCore

Part = tuple[Core, Window]
PROCEDURAL = {"procedural": 1.0, "procedural_shifted": 3.0}  # by how much stains differ from core to core


class CorePatches(Dataset[Sample]):
    """``each`` random patches of ``size`` px from each core, drawn by torch's generator.

    Raises:
        DataError: a core is smaller than a patch.
    """

    def __init__(self, parts: Sequence[Part], *, size: int, each: int):
        for core, window in parts:
            if min(window.height, window.width) < size:
                raise DataError(
                    f"{core.id} has {window.height} x {window.width} px to train on, and a patch {size} px: "
                    "say a smaller recipe.patch"
                )
        self.parts, self.patch, self.each = list(parts), size, each
        self.recordings = _names(self.parts)

    def __len__(self) -> int:
        return len(self.parts) * self.each

    def __getitem__(self, index: int) -> Sample:
        core, (top, left, height, width) = self.parts[index // self.each]
        down, across = (int(torch.randint(length - self.patch + 1, ())) for length in (height, width))
        return core.read(Window(top + down, left + across, self.patch, self.patch))


class WholeCores(Dataset[Sample]):
    """Each core, or what of it is evaluated, as one sample."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = list(parts)
        self.recordings = _names(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Sample:
        core, window = self.parts[index]
        return core.read(window)


def _names(parts: Sequence[Part]) -> list[str]:
    """The core of each part; with its place, where it is a region of one."""
    return [core.id if window == whole(core)[1] else f"{core.id} {tuple(window)}" for core, window in parts]


def procedural_parts(name: str, split: str, *, cores: int, val_share: float, side: int, seed: int = 1) -> list[Part]:
    """Drawn cores of ``split``: the last ``val_share`` of ``cores`` validate, others with the same seed train."""
    made = [ProceduralCore(number, side=side, seed=seed, shift=PROCEDURAL[name]) for number in range(cores)]
    kept = cores - min(max(round(val_share * cores), 1), cores - 1)
    if split == "test":
        return [whole(ProceduralCore(n, side=side, seed=seed + 1, shift=PROCEDURAL[name])) for n in range(cores - kept)]
    return [whole(core) for core in (made[:kept] if split == "train" else made[kept:])]


def stored_parts(
    name: str,
    root: str | Path,
    split: str,
    *,
    channels: Sequence[str],
    shared: bool,
    val_share: float,
    skip_bad: bool = False,
) -> list[Part]:
    """The cores of data set ``name`` under ``root``.

    Args:
        split: ``train``, ``val`` or ``test``.
        channels: the names of the wanted ones; of a file whose channels have no names, those of all of them.
        shared: what is there is divided between training and validation: as the manifest or the folders say, else by
            core (`split_by_recording`), and of one core alone by region, the last ``val_share`` of its longer side.
        skip_bad: leave out cores whose files cannot be used, with a warning.

    Raises:
        ValueError: there is no such data set.
        DataError: nothing there, or what is there cannot be used.
    """
    if name not in KNOWN:
        known = ", ".join(sorted([*PROCEDURAL, *KNOWN]))
        raise ValueError(f"no data set {name!r} of cores (known: {known})")
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}. {name} wants: {KNOWN[name].expected}")
    cores = KNOWN[name].find(root, channels, skip_bad)
    if not cores:
        raise DataError(f"no cores in {root}. {name} wants: {KNOWN[name].expected}")
    said = [core.split for core in cores]
    if (shared or split == "test") and any(said):
        if not all(said):
            raise DataError(f"{root}: {cores[said.index(None)].id} says no split, where others do")
        chosen = [core for core in cores if core.split == split]
        if not chosen:
            raise DataError(f"{root}: no core is said to be of the split '{split}'")
        return [whole(core) for core in chosen]
    if not shared:
        return [whole(core) for core in cores]
    if len({core.id for core in cores}) == 1:
        if len(cores) > 1:
            raise DataError(f"{root} has patches of {cores[0].id} alone; name another folder to validate on")
        return [(cores[0], region(cores[0].size, split, val_share=val_share))]
    return [whole(cores[index]) for index in split_by_recording([c.id for c in cores], split, val_share=val_share)]


def region(size: tuple[int, int], split: str, *, val_share: float) -> Window:
    """The part of a core of ``size`` px for ``split``, cut across its longer side.

    >>> region((100, 200), "train", val_share=0.25), region((100, 200), "val", val_share=0.25)
    (Window(top=0, left=0, height=100, width=150), Window(top=0, left=150, height=100, width=50))
    """
    height, width = size
    cut = round((1 - val_share) * max(size))
    if height > width:
        return Window(0, 0, cut, width) if split == "train" else Window(cut, 0, height - cut, width)
    return Window(0, 0, height, cut) if split == "train" else Window(0, cut, height, width - cut)


def collate_cores(samples: Sequence[Sample]) -> Sample:
    """Stack samples; smaller ones are padded on the right and below with white pixels that are not ``valid``.

    >>> small, large = ({"he": torch.ones(3, 1, w), "valid": torch.ones(1, 1, w, dtype=torch.bool)} for w in (1, 2))
    >>> batch = collate_cores([small, large])
    >>> batch["he"].shape, batch["valid"].sum().item()
    (torch.Size([2, 3, 1, 2]), 3)
    """
    height, width = (max(sample["he"].shape[axis] for sample in samples) for axis in (1, 2))
    padded = [
        {
            name: F.pad(value, (0, width - value.shape[2], 0, height - value.shape[1]), value=float(name == "he"))
            for name, value in sample.items()
        }
        for sample in samples
    ]
    batch: Sample = default_collate(padded)
    return batch

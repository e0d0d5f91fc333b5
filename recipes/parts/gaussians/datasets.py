"""Sets of 2D Gaussians on disk by name: fits of pictures, blocks of 3D splats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.files import SUFFIXES, read_gaussians
from recipes.parts.gaussians.splat_files import cut_into_blocks, read_splats, seen_along
from recipes.parts.recordings import split_by_recording

Sample = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """How a kind of data set lies on disk: ``find(root, gaussians)`` gives the samples' names and Gaussians [N,8]."""

    find: Callable[[Path, int], list[tuple[str, torch.Tensor]]]
    expected: str


class GaussianSets(Dataset[Sample]):
    """Sets of Gaussians in memory; a sample has ``gaussians`` float32 [N,8], as stored.

    Args:
        recordings: the picture or block that each set is of.
    """

    def __init__(self, sets: list[torch.Tensor], *, root: str, recordings: Sequence[str] = ()):
        self.sets, self.root, self.recordings = sets, root, list(recordings)

    def __len__(self) -> int:
        return len(self.sets)

    def __getitem__(self, index: int) -> Sample:
        return {"gaussians": self.sets[index]}


def _fits(root: Path, gaussians: int) -> list[tuple[str, torch.Tensor]]:
    found = []
    for path in _files(root, SUFFIXES):
        numbers = read_gaussians(path)
        if len(numbers) != gaussians:
            raise DataError(f"{path} has {len(numbers)} Gaussians; recipe.gaussians is {gaussians}")
        found.append((_name(root, path), numbers))
    return found


def _splats(root: Path, gaussians: int) -> list[tuple[str, torch.Tensor]]:
    found = []
    for path in _files(root, (".ply",)):
        blocks = cut_into_blocks(read_splats(path), gaussians)
        if not len(blocks):
            raise DataError(f"{path} has too few Gaussians that can be seen for one block of {gaussians}")
        views = torch.stack([seen_along(blocks, axis) for axis in range(3)], 1)
        found += [(f"{_name(root, path)} block {number}", view) for number, three in enumerate(views) for view in three]
    return found


KNOWN = {
    "fits": Layout(_fits, "any folder with .npz files (gaussians: N x 8) or Image-GS's .pt (xy, scale, rot, feat)"),
    "splats": Layout(_splats, "a .ply file of 3D Gaussians, or any folder with such files"),
}


def gaussian_dataset(
    name: str, root: str | Path, *, split: str = "all", gaussians: int = 512, val_share: float = 0.2
) -> GaussianSets:
    """The data set ``name`` at ``root``, read whole: 16 KiB a set.

    Args:
        name: a key of `KNOWN`; each one's ``expected`` says how the files lie.
        split: ``train`` and ``val`` share out what is there, whole pictures or blocks to one or the other; ``all``.
        gaussians: of a set.

    Raises:
        ValueError: an unknown name or split.
        DataError: no such folder, nothing in it, a file that cannot be used, one set only where two are needed.
    """
    if name not in KNOWN:
        raise ValueError(f"no data set {name!r} of Gaussians (known: procedural, {', '.join(sorted(KNOWN))})")
    root = Path(root)
    if not root.exists():
        raise DataError(f"there is no {root}. {name} wants: {KNOWN[name].expected}")
    found = KNOWN[name].find(root, gaussians)
    if not found:
        raise DataError(f"no Gaussians under {root}. {name} wants: {KNOWN[name].expected}")
    try:
        chosen = split_by_recording([source for source, _ in found], split, val_share=val_share)
    except DataError as error:
        raise DataError(f"{root} has one picture alone, {found[0][0]}; name another folder to validate on") from error
    sources, sets = zip(*(found[index] for index in chosen))
    return GaussianSets(list(sets), root=str(root), recordings=sources)


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with these endings: ``root`` itself, or all in and below it."""
    if root.is_file():
        return [root] if root.suffix.lower() in suffixes else []
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def _name(root: Path, path: Path) -> str:
    """What a file is called wherever the folder lies."""
    return path.name if path == root else path.relative_to(root).as_posix()

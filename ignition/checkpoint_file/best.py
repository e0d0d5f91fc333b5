"""The best checkpoints of a run by their scores: which they are, and the names that they have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ignition.checkpoint_file.file import link, sync_folder
from ignition.checkpoint_file.folder import BEST, is_same

Better = Callable[[float, float | None], bool]

# A new best one on its way to its place, where it has no name with a number.
NEXT = "best-next.pt"


@dataclass(frozen=True, slots=True)
class Scored:
    """A checkpoint's score, its iteration, the name under which it is found, and which file had that name then."""

    score: float
    iteration: int
    name: str
    file: tuple[int, ...] | None = field(default=None, compare=False, repr=False)

    def is_there(self, folder: Path) -> bool:
        """Whether that name is still that of the same file."""
        return self.file is not None and self.file == _identity(folder / self.name)


def best_name(place: int) -> str:
    """What the best checkpoint is called, the second best, and so on.

    >>> best_name(1), best_name(2)
    ('best.pt', 'best-2.pt')
    """
    return BEST if place == 1 else f"best-{place}.pt"


def best_names(folder: Path) -> list[str]:
    """These names in ``folder``, the best first."""
    places = {1} if (folder / BEST).exists() else set()
    for path in folder.glob("best-*.pt"):
        match = re.fullmatch(r"best-([1-9]\d*)\.pt", path.name)
        if match and match[1] != "1":
            places.add(int(match[1]))
    return [best_name(place) for place in sorted(places)]


def ranked(scored: Iterable[Scored], better: Better, count: int) -> list[Scored]:
    """The ``count`` best, the best first. A score that is not finite has no place; of equal ones the earlier is better.

    An iteration has one place at most, though it may have been scored twice.

    >>> ranked([Scored(0.5, 1, "a"), Scored(0.7, 2, "b"), Scored(0.9, 1, "c")], lambda new, old: new > (old or 0), 2)
    [Scored(score=0.9, iteration=1, name='c'), Scored(score=0.7, iteration=2, name='b')]
    """
    ranking: list[Scored] = []
    for new in scored:
        rival = next((one for one in ranking if one.iteration == new.iteration), None)
        if not better(new.score, rival.score if rival else None):
            continue
        if rival:
            ranking.remove(rival)
        place = next((place for place, one in enumerate(ranking) if better(new.score, one.score)), len(ranking))
        ranking.insert(place, new)
    return ranking[:count]


def arrange(folder: Path, ranking: list[Scored]) -> list[Scored]:
    """Let ``best.pt``, ``best-2.pt`` and so on name these, in this order; the ranking with its new names.

    Each name changes in one step, and none of the files is without a name meanwhile: after a kill in between, all are
    found again.

    Raises:
        OSError: a name could not be made.
    """
    moves = {best_name(place): one.name for place, one in enumerate(ranking, start=1)}
    moves = {name: source for name, source in moves.items() if not is_same(folder / name, folder / source)}
    while moves:
        free = [name for name in moves if name not in moves.values()]
        if not free:  # they have changed places: somebody has renamed them
            name = next(iter(moves))
            link(folder / name, NEXT)
            moves = {target: NEXT if source == name else source for target, source in moves.items()}
            continue
        source = moves.pop(free[0])
        if source == NEXT:
            os.replace(folder / NEXT, folder / free[0])
            sync_folder(folder)
        else:
            link(folder / source, free[0])
    names = [best_name(place) for place in range(1, len(ranking) + 1)]
    return [replace(one, name=name, file=_identity(folder / name)) for one, name in zip(ranking, names, strict=True)]


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

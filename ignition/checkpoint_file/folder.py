"""The checkpoints of a folder: which one to go on from, and what to clear away."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ignition.checkpoint_file.content import Payload
from ignition.checkpoint_file.file import BadCheckpoint, load
from ignition.process import is_alive

log = logging.getLogger(__name__)

LAST, BEST = "last.pt", "best.pt"

_TEMPORARY = re.compile(r"\.tmp-(\d+)-.+")


def name_of(iteration: int) -> str:
    """What the checkpoint of an iteration is called.

    >>> name_of(1200)
    'iteration-00001200.pt'
    """
    return f"iteration-{iteration:08d}.pt"


def iteration_of(path: Path) -> int | None:
    """The iteration in a checkpoint's name; None for other files, such as ``last.pt``.

    >>> iteration_of(Path("iteration-00001200.pt")), iteration_of(Path("best.pt"))
    (1200, None)
    """
    match = re.fullmatch(r"iteration-(\d+)\.pt", path.name)
    return int(match[1]) if match else None


def newest_good(folder: Path, *, spare: Iterable[str] = ()) -> tuple[Path, Payload, list[BadCheckpoint]] | None:
    """The newest checkpoint of ``folder`` that can be used, by the number in its name; None where there never was one.

    Damaged ones that are newer are renamed ``*.corrupt``, with a warning that says why, and which one is used instead.

    Args:
        spare: names without a number, looked at after all others.

    Returns:
        its path, its content, and what was wrong with each newer one.

    Raises:
        BadCheckpoint: there are checkpoints and none can be used; lists each with its reason.
    """
    rejected: list[BadCheckpoint] = []
    for path in [*numbered(folder)[::-1], *(folder / name for name in spare if (folder / name).exists())]:
        try:
            payload = load(path)
        except BadCheckpoint as error:
            rejected.append(error)
            continue
        for bad in rejected:
            set_aside(bad, f"going on from {path.name}")
        return path, payload, rejected
    reasons = [f"{bad.path.name} {bad.why}" for bad in rejected]
    reasons += [f"{file.name} was found damaged earlier" for file in sorted(folder.glob("*.pt.corrupt"))]
    if not reasons:
        return None
    advice = "To start from nothing, move them away or choose another folder."
    raise BadCheckpoint(folder, "none of the checkpoints can be used:\n  " + "\n  ".join(reasons) + f"\n{advice}")


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of ``folder`` by the number in their names (``iteration-00000200.pt``), oldest first."""
    found = [(number, file) for file in folder.glob("*.pt") if (number := iteration_of(file)) is not None]
    return [file for _, file in sorted(found)]


def prune(folder: Path, iteration: int, keep: int) -> None:
    """Leave the newest ``keep`` of the checkpoints up to ``iteration``; one that cannot be removed is told."""
    older = [path for path in numbered(folder) if (iteration_of(path) or 0) <= iteration]
    remove(*older[:-keep])


def remove(*paths: Path) -> None:
    """Take these files away; one that stays is told, and does no harm."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("an old checkpoint stays: %s", error)


def is_same(one: Path, other: Path) -> bool:
    """Whether both are names of one file."""
    return one.exists() and os.path.samefile(one, other)


def set_aside(bad: BadCheckpoint, instead: str) -> None:
    """Warn about a checkpoint that is not used, and rename it ``*.corrupt`` if it is damaged."""
    aside = bad.path.with_name(bad.path.name + ".corrupt")
    if bad.damaged:
        with contextlib.suppress(OSError):  # a folder that cannot be written: the warning says enough
            os.replace(bad.path, aside)
    kept = f", kept as {aside.name}" if bad.damaged and not bad.path.exists() else ""
    log.warning("%s %s%s; %s", bad.path, bad.why, kept, instead)


def clean_litter(folder: Path) -> list[Path]:
    """Take away what processes that are gone left half written; returns what was. Not while this one is saving."""
    removed = []
    for file in sorted(folder.glob(".tmp-*")):
        match = _TEMPORARY.fullmatch(file.name)
        # In a container the run that follows a killed one often has its number: own files are litter as well.
        if match and (int(match[1]) == os.getpid() or not is_alive(int(match[1]))):
            with contextlib.suppress(OSError):
                os.unlink(file)
                removed.append(file)
    return removed

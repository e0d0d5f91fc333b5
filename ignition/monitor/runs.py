"""What is at a path: a run of ours, or somebody else's log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ignition.monitor.foreign.events import PATTERN, EventFiles
from ignition.monitor.foreign.run import Foreign
from ignition.monitor.foreign.table import Table
from ignition.monitor.foreign.trainer_state import TrainerState, newest_state
from ignition.monitor.run import Run
from ignition.monitor.watched import Watched

LIGHTNING = "metrics.csv"
TRAINER_ONLY = "train_loss train_runtime"  # of a Trainer: over the whole training


class NoRun(ValueError):
    """There is nothing at a path that can be followed; says what was looked for."""


def open_run(path: str | Path, names: Mapping[str, str] | None = None) -> Run:
    """What is there, to be followed: a run folder, a csv, a trainer_state.json, event files, or a folder with one of
    these, looked for in this order.

    Args:
        path: folder or file.
        names: for somebody else's log, our names of its numbers by theirs.

    Raises:
        NoRun: there is nothing of the kind.
    """
    path = Path(path).expanduser().absolute()
    if path.is_dir():
        return _in_folder(path, names)
    if path.is_file():
        if path.suffix == ".json":
            return Foreign(TrainerState(path), path, names=names, passed_over=TRAINER_ONLY)
        if "tfevents" in path.name:
            return Foreign(EventFiles(path), path, names=names)
        if path.suffix in (".csv", ".tsv", ".txt"):
            return Foreign(Table(path), path, names=names)
        raise NoRun(f"{path}: is no run folder, and no csv, trainer_state.json or event file of TensorBoard")
    raise NoRun(f"{path}: there is no such folder or file. Name a run folder, such as runs/depth/depth-001, or a log")


def _in_folder(path: Path, names: Mapping[str, str] | None) -> Run:
    run = Watched(path)
    if run.begun:
        return run
    tables = sorted(path.glob("*.csv"))
    state = newest_state(path)
    if (path / LIGHTNING).is_file():
        return Foreign(Table(path / LIGHTNING), path, names=names)
    if state is not None:
        return Foreign(TrainerState(state, path), path, names=names, passed_over=TRAINER_ONLY)
    if next(path.glob(PATTERN), None) is not None:
        return Foreign(EventFiles(path), path, names=names)
    if len(tables) == 1:
        return Foreign(Table(tables[0]), path, names=names)
    if tables:
        raise NoRun(f"{path}: holds several tables, name one: {', '.join(table.name for table in tables[:10])}")
    marks = ("config.yaml", LIGHTNING, PATTERN)
    inner = sorted({found.parent for mark in marks for found in path.glob(f"*/{mark}")})
    if inner:
        raise NoRun(f"{path}: is no run itself, but these are: {', '.join(str(found) for found in inner[:10])}")
    return run  # one that has just been made, perhaps

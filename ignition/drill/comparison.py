"""Whether two runs are one, and what a damaged checkpoint is taken for."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import torch

from ignition.checkpoint_file import BadCheckpoint, load
from ignition.rundir import LAST_CHECKPOINT, OF_THE_MACHINE, RunFolder

STATES = ("iteration", "epoch", "model", "optimizer", "ema", "learning_rate", "sampler", "loss_weights")


def differences(straight: Path, other: Path, *, rows: bool = True) -> list[str]:
    """In what the last checkpoint, and the ``rows``, of one run differ from those of another; empty if in nothing."""
    one, two = (load(RunFolder(run).checkpoints / LAST_CHECKPOINT) for run in (straight, other))
    named = [name for name in STATES if name in one or name in two]
    found = [place for name in named for place in _apart(one.get(name), two.get(name), name)]
    if rows:
        found += _rows_apart(*(_untimed(RunFolder(run).read_metrics()) for run in (straight, other)))
    return found


def is_finite(folder: Path) -> bool:
    """Whether the last checkpoint of a run can be read; one that is not finite cannot."""
    try:
        load(RunFolder(folder).checkpoints / LAST_CHECKPOINT)
    except BadCheckpoint:
        return False
    return True


def flip_bits(path: Path, count: int, seed: int = 0) -> dict[str, int]:
    """Of ``count`` copies of a checkpoint, each with one bit flipped, how many are refused, the same, and wrong.

    The last one that is refused takes the place of the file.
    """
    whole, data, numbers = load(path), path.read_bytes(), random.Random(seed)
    tally, copy, refused = {"refused": 0, "the same": 0, "wrong": 0}, path.with_name("flipped.pt.part"), b""
    for _ in range(count):
        place, bit = numbers.randrange(len(data)), numbers.randrange(8)
        flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        copy.write_bytes(flipped)
        try:
            tally["the same" if not _apart(load(copy), whole, "") else "wrong"] += 1
        except BadCheckpoint:
            tally["refused"] += 1
            refused = flipped
    copy.unlink()
    path.write_bytes(refused)
    return tally


class Stranger:
    """Makes a folder when it is unpickled: what somebody else's code would do."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def make_malicious(path: Path, trace: Path) -> None:
    """Let the checkpoint at ``path`` be one that makes the folder ``trace``, if anybody lets it."""
    payload = {**load(path), "extra": Stranger(trace)}
    torch.save(payload, path)


def _apart(one: Any, two: Any, place: str) -> list[str]:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if one.dtype == two.dtype and torch.equal(one, two) else [place]
    if isinstance(one, dict) and isinstance(two, dict):
        names = [*one, *(name for name in two if name not in one)]
        return [apart for name in names for apart in _apart(one.get(name), two.get(name), f"{place}.{name}")]
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        return [apart for i, pair in enumerate(zip(one, two)) for apart in _apart(*pair, f"{place}[{i}]")]
    return [] if type(one) is type(two) and (one == two or one != one) else [f"{place}: {one!r} and {two!r}"]


def _untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = ({name: value for name, value in row.items() if name not in OF_THE_MACHINE} for row in rows)
    return [row for row in kept if not row.keys() <= {"iteration", "epoch"}]


def _rows_apart(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> list[str]:
    for number, (first, second) in enumerate(zip(one, two), start=1):
        apart = _apart(first, second, f"row {number}")
        if apart:
            return apart
    return [] if len(one) == len(two) else [f"{len(one)} rows and {len(two)}"]

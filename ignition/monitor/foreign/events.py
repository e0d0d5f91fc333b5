"""Event files of TensorBoard, read without its libraries: their scalars."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ignition.monitor.foreign.records import split
from ignition.monitor.growing_file import GrowingFile

PATTERN = "*tfevents*"
START = 1  # of a session
_FLOAT, _DOUBLE = 1, 2  # types of a tensor


class EventFiles:
    """Follows the event files of a folder, or one file. Each tag counts its own steps; later ones replace earlier ones.

    Args:
        path: folder or file.
    """

    BLOCK = 2**18

    def __init__(self, path: Path):
        self.path, self.attempts = path, False
        self._files: dict[Path, GrowingFile] = {}
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.bad = 0

    @property
    def by_epochs(self) -> bool:
        """It has a record a step."""
        return False

    @property
    def problem(self) -> str:
        """Why one of them cannot be read; empty where all can."""
        return next((f"{path.name}: {file.problem}" for path, file in self._files.items() if file.problem), "")

    def renewed(self) -> bool:
        """Look at the files. Whether one that was read is another one now."""
        paths = sorted(self.path.glob(PATTERN)) if self.path.is_dir() else [self.path]
        gone = [path for path in self._files if path not in paths]
        for path in paths:
            self._files.setdefault(path, GrowingFile(path))
        changed = [file.renewed() for file in self._files.values()]
        for path in gone:
            del self._files[path]
        if any(changed) or gone:
            self.again()
            return True
        return False

    def again(self) -> None:
        """Begin anew with the first record."""
        self.bad = 0
        for file in self._files.values():
            file.seek(0)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each of the next records that hold scalars."""
        for path in sorted(self._files):
            rows = self._next(self._files[path])
            if rows:
                return rows
        return []

    def _next(self, file: GrowingFile) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while not rows and file.left:
            block = file.peek(self.BLOCK)
            records, taken, bad = split(block)
            self.bad += bad
            if taken <= len(block):
                file.take(block[:taken])
            else:
                if file.offset + taken > file.size:  # a long one that is not written to its end yet
                    break
                file.seek(file.offset + taken)
            for record in records:
                try:
                    row = row_of(record)
                except (IndexError, struct.error, ValueError):
                    self.bad += 1
                    continue
                if row is not None:
                    rows.append(row)
            if taken == 0:
                break
        return rows


def row_of(record: bytes) -> dict[str, Any] | None:
    """The scalars of an event by tag, with ``iteration`` and ``time``; of a session's start ``rewind``; else None.

    Raises:
        IndexError, struct.error, ValueError: it is no event.
    """
    time, step, rewinds = float("nan"), 0, False
    scalars: dict[str, float] = {}
    for number, value in _fields(record):
        if number == 1:
            (time,) = struct.unpack("<d", value)
        elif number == 2:
            step = value if value < 2**63 else value - 2**64
        elif number == 5:
            for part, summary in _fields(value):
                if part == 1:
                    scalars.update(_scalar(summary))
        elif number == 7:
            rewinds = any(part == 1 and status == START for part, status in _fields(value))
    if rewinds:
        return {"iteration": step, "rewind": step}
    return {"iteration": step, "time": time, **scalars} if scalars else None


def _scalar(summary: bytes) -> dict[str, float]:
    """A value of a summary, by its tag, if it is one number."""
    tag, found = "", None
    for number, value in _fields(summary):
        if number == 1:
            tag = value.decode("utf-8", errors="replace")
        elif number == 2:
            (found,) = struct.unpack("<f", value)
        elif number == 8:
            found = _of_tensor(value)
    return {tag: found} if tag and found is not None else {}


def _of_tensor(tensor: bytes) -> float | None:
    """The number in a tensor of one, float or double."""
    kind, content = 0, b""
    for number, value in _fields(tensor):
        if number == 1:
            kind = value
        elif number in (4, 5, 6) and isinstance(value, bytes):  # as bytes, or as a list of one float or double
            content = value
    size, code = {_FLOAT: (4, "<f"), _DOUBLE: (8, "<d")}.get(kind, (0, ""))
    return float(struct.unpack(code, content)[0]) if size and len(content) == size else None


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protobuf message's fields: an int for a varint, else bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of the kind {kind}")
        if place + size > len(message):
            raise IndexError("cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")

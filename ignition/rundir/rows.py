"""Rows of numbers as lines of JSON, and small files that are whole or absent."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

# Columns that say when, and how fast the machine was: two runs never have the same.
OF_THE_MACHINE = frozenset({
    "time", "rows_lost", "train/samples_per_second", "train/data_wait_share", "train/step_ms_p50", "train/step_ms_p95",
    "train/memory_gib", "train/mfu",
})  # fmt: skip

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Rows:
    """A file of rows, each a JSON object on a line of its own; only ever added to, except by `rewind`.

    Numbers that JSON does not have are the strings ``NaN``, ``Infinity`` and ``-Infinity``. A row that could not be
    written is counted, and the next one that can be says so as ``rows_lost``.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: Any = None
        self._torn = False
        self._lost = 0
        self._warned = False

    def write(self, row: Mapping[str, Any]) -> None:
        """Add ``row`` and ``time`` (seconds since 1970). Where that fails, one warning; nothing is raised."""
        values: dict[str, Any] = {"time": time.time(), **row}
        if self._lost:
            values["rows_lost"] = self._lost
        try:
            line = json.dumps(values, allow_nan=False, default=_number)
        except ValueError:
            line = json.dumps(_encoded(values), default=_number)
        try:
            self._append(line.encode() + b"\n")
            self._lost = 0
        except OSError as error:
            self._lost += 1
            if not self._warned:
                log.warning("cannot write %s, the run goes on without: %s", self.path, error.strerror or error)
            self._warned = True

    def read(self) -> list[dict[str, Any]]:
        """The rows that are whole; a torn one, from a run that was killed, is passed over."""
        try:
            with open(self.path, "rb") as file:
                rows = [_row(line) for line in file]
        except FileNotFoundError:
            return []
        return [_decoded(row) for row in rows if row is not None]

    def tail(self, count: int) -> list[dict[str, Any]]:
        """The last ``count`` rows that are whole; reads no more of the file than they take."""
        try:
            with open(self.path, "rb") as file:
                lines = _last_lines(file, count)
        except FileNotFoundError:
            return []
        return [_decoded(row) for row in map(_row, lines) if row is not None]

    @staticmethod
    def write_all(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write ``rows`` as they are into a new file.

        Raises:
            OSError: it could not be written.
        """
        lines = [json.dumps(_encoded(row), default=_number).encode() + b"\n" for row in rows]
        replace_file(path, b"".join(lines))

    def rewind(self, iteration: int) -> None:
        """Take away the rows of later iterations and what is torn, at once or not at all."""
        self.close()
        if not self.path.exists():
            return
        temporary = _temporary(self.path)
        try:
            with open(self.path, "rb") as file, open(temporary, "wb") as kept:
                for line in file:
                    row = _row(line)
                    if row is not None and not _later(row, iteration):
                        kept.write(line if line.endswith(b"\n") else line + b"\n")
                kept.flush()
                os.fsync(kept.fileno())
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the next row opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _append(self, line: bytes) -> None:
        if self._file is not None and not _is_named(self._file, self.path):
            self.close()  # moved away or removed: what goes there nobody would find
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (stays open: a row must cost little)
            self._torn = _ends_torn(self.path)
        data = b"\n" + line if self._torn else line
        self._torn = True
        while data:
            data = data[self._file.write(data) :]  # less than all where the disk has just become full
        self._torn = False


def _last_lines(file: BinaryIO, count: int, block: int = 2**16) -> list[bytes]:
    """The last ``count`` lines of ``file``, read from its end block by block."""
    place, text = file.seek(0, os.SEEK_END), b""
    while place > 0 and text.count(b"\n") <= count:
        begin = max(place - block, 0)
        file.seek(begin)
        text = file.read(place - begin) + text
        place = begin
    return text.splitlines()[-count:]


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all: the old one stays until the new one is on the disk.

    Raises:
        OSError: it could not be written.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "nt":  # cannot open a folder
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def to_json(values: Mapping[str, Any]) -> bytes:
    """JSON for people to read, in which numbers that are not finite are strings."""
    return json.dumps(_encoded(values), indent=2, default=_number).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return _decoded(values) if isinstance(values, dict) else {}


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{os.getpid()}-{path.name}.part")


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # torn, or not text at all
        return None
    return row if isinstance(row, dict) else None


def _later(row: Mapping[str, Any], iteration: int) -> bool:
    value = row.get("iteration")
    return isinstance(value, (int, float)) and value > iteration


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether ``path`` still is the name of the open ``file``."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _ends_torn(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _encoded(value: Any) -> Any:
    """``value`` with strings for what JSON has no numbers for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(item) for item in value]
    return _encoded(value.item()) if hasattr(value, "item") else value


def _decoded(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def _number(value: Any) -> Any:
    """What JSON does not know: a tensor or numpy number becomes a number, a path text."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a row can hold numbers, text, lists and dicts, not {type(value).__name__}: {value!r}")

"""Lines of JSON as rows, and the numbers of many rows as columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ignition.stability.number import number

Row = Mapping[str, Any]

PLACE = ("time", "iteration", "epoch")  # where a row belongs
HIGHEST = 2.0**53  # of iterations: beyond, they are not told apart


class Columns(NamedTuple):
    """The numbers of rows, in their order.

    Attributes:
        iterations, times: of each row; a time that is missing is NaN.
        values: by name, which of the rows have it, and what it is there.
    """

    iterations: np.ndarray
    times: np.ndarray
    values: dict[str, tuple[np.ndarray, np.ndarray]]


def rows_of(lines: bytes) -> tuple[list[dict[str, Any]], int]:
    """The objects in ``lines``, one a line, and how many lines hold something else.

    >>> rows_of(b'{"iteration": 1}\\n{"iterat\\n\\n{"loss": NaN}\\n')
    ([{'iteration': 1}, {'loss': nan}], 1)
    """
    try:
        values = _DECODER.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a torn line among them
        values = [_value(line) for line in lines.split(b"\n") if line.strip()]
    rows = [value for value in values if isinstance(value, dict)]
    return rows, len(values) - len(rows)


_DECODER = msgspec.json.Decoder()


def _value(line: bytes) -> Any:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(line)  # knows NaN
    except (ValueError, RecursionError):
        return None


def columns(rows: Sequence[Row]) -> tuple[Columns, int]:
    """The numbers of ``rows``, and how many rows say no iteration.

    Rows of the same kind have the same names, so that a whole kind becomes arrays at once.

    >>> taken, _ = columns([{"iteration": 1, "loss": 2.0}, {"iteration": 2, "loss": "NaN", "what": "a word"}])
    >>> taken.iterations, taken.values["loss"]
    (array([1., 2.]), (array([0, 1]), array([ 2., nan])))
    """
    kinds: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        kinds.setdefault(tuple(row), []).append(place)
    iterations = np.full(len(rows), np.nan)
    times = np.full(len(rows), np.nan)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for names, members in kinds.items():
        places = np.array(members)
        table = zip(*(rows[place].values() for place in members))
        for name, column in zip(names, table):
            which, numbers = _numbers(column)
            if name == "iteration":
                iterations[places[which]] = numbers
            elif name == "time":
                times[places[which]] = numbers
            elif name not in PLACE and len(numbers):
                parts.setdefault(name, []).append((places[which], numbers))
    known = (iterations >= 0) & (iterations < HIGHEST)
    values = {name: _joined(pieces) for name, pieces in parts.items()}
    if known.all():
        return Columns(iterations, times, values), 0
    moved = np.cumsum(known) - 1
    kept = {name: (moved[at[known[at]]], numbers[known[at]]) for name, (at, numbers) in values.items()}
    return Columns(iterations[known], times[known], kept), int((~known).sum())


def _numbers(column: Iterable[Any]) -> tuple[Any, np.ndarray]:
    """Where a column holds numbers, and which."""
    column = tuple(column)
    if set(map(type, column)) == {float}:
        return slice(None), np.array(column)
    numbers = [_safe(value) for value in column]
    which = np.array([value is not None for value in numbers], bool)
    return which, np.array([value for value in numbers if value is not None], float)


def _safe(value: Any) -> float | None:
    try:
        return number(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _joined(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(pieces) == 1:
        return pieces[0]
    at, numbers = (np.concatenate(parts) for parts in zip(*pieces))
    order = np.argsort(at, kind="stable")
    return at[order], numbers[order]

"""Validation errors of pydantic, retold as problems with a place, what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ignition.config.hints import near_miss, unknown_key
from ignition.config.layout import Layout
from ignition.config.node import Node, Path, dotted
from ignition.config.problems import COMMAND_LINE, Problem
from ignition.config.scalars import read_scalar

SECTION = "a section (lines of 'key: value')"
EXPECTED = {  # kind of error -> what would have been right, with the error's own context
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": SECTION,
    "model_type": SECTION,
    "model_attributes_type": SECTION,
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


Complaint = tuple[Path, str]


def retell(error: ValidationError, root: Node, layout: Layout, prefix: Path = ()) -> list[Complaint]:
    """Every error as path and message; ``prefix`` is where the validated section stands in ``root``."""
    expected: dict[Path, list[str]] = {}
    said: list[Complaint] = []
    missing: list[Path] = []
    for details in error.errors(include_url=False):
        kind, context = details["type"], details.get("ctx", {})
        path = _path(root, prefix, details["loc"], missing=kind == "missing")
        if kind == "extra_forbidden":
            said.append((path, unknown_key(path, root, layout)))
        elif kind == "missing":
            missing.append(path)
        elif kind in ("value_error", "assertion_error"):
            said.append((path, f"{dotted(path)}: {context.get('error', details['msg'])}"))
        elif kind == "union_tag_invalid":
            said += _bad_kind(path, root, layout)
        else:
            expected.setdefault(path, []).append(_expectation(kind, context, details["msg"]))
    paths = [*expected, *(path for path, _ in said)]
    for path, phrases in expected.items():
        if not any(other[: len(path)] == path and other != path for other in paths):  # the deeper one says more
            said.append((path, _mismatch(path, phrases, root, layout)))
    misspelt = {(*path[:-1], message.split("'")[-2]) for path, message in said if "Did you mean" in message}
    return said + [_missing(path, root) for path in missing if path not in misspelt]


def placed(complaint: Complaint, root: Node) -> Problem:
    """A complaint as a problem, at its key or at the nearest section that is there."""
    path, message = complaint
    place = root.nearest(path).place
    typed_key = place.file.removeprefix(COMMAND_LINE).partition("=")[0].strip()
    if place.file.startswith(COMMAND_LINE) and typed_key == dotted(path):
        message = message.removeprefix(f"{typed_key}: ")  # it stands in the place already
    return Problem.at(place, message)


def not_finite(node: Node, path: Path = ()) -> Iterator[Complaint]:
    """NaN and infinities, wherever they stand: no setting may be one, whatever its type."""
    if isinstance(node.value, float) and not math.isfinite(node.value):
        yield path, f"{dotted(path)}: expected a finite number, found {node.value}"
    for key in node.steps():
        step = node.child(key)
        if step is not None:
            yield from not_finite(step, (*path, key))


def found(value: Any) -> str:
    """A value as an error names it.

    >>> found("fast"), found(True), found(None), found([1])
    ("text 'fast'", 'true', 'nothing (null)', 'a list of 1')
    """
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text '{value if len(value) <= 60 else value[:57] + '...'}'"
    if isinstance(value, (list, dict)):
        return f"a list of {len(value)}" if isinstance(value, list) else "a section"
    return repr(value)


def _path(root: Node, prefix: Path, location: tuple[str | int, ...], *, missing: bool) -> Path:
    """The path in the config of pydantic's location, which also names the kind of a section, or a union's member."""
    node, path = root.nearest(prefix), prefix
    for place, key in enumerate(location):
        step = node.child(key)
        if step is not None:
            node, path = step, (*path, key)
        elif missing and place == len(location) - 1:
            path = (*path, key)
    return path


def _missing(path: Path, root: Node) -> Complaint:
    if isinstance(path[-1], int):
        items = path[:-1]
        return items, f"{dotted(items)}: expected more items, found {found(root.nearest(items).value)}"
    inside = f" in section '{dotted(path[:-1])}'" if path[:-1] else ""
    return path, f"key '{path[-1]}' is missing{inside}"


def _bad_kind(path: Path, root: Node, layout: Layout) -> Iterator[tuple[Path, str]]:
    """A section of a kind that there is not; its keys are held against those of all kinds."""
    slot, node = layout.at(path), root.nearest(path)
    if slot is None or not isinstance(slot.chooser, str):
        yield path, f"{dotted(path)}: expected another kind"
        return
    place = (*path, slot.chooser)
    kinds = list(slot.kinds())
    yield place, _mismatch(place, [_one_of(kinds)], root, layout, kinds)
    for key in node.value:
        if key not in slot.keys:
            yield (*path, key), unknown_key((*path, key), root, layout)


def _expectation(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "expected":
        return message
    if kind not in EXPECTED:
        return message.removeprefix("Input should be ").removeprefix("Value should be ")
    return EXPECTED[kind].format(**{key: _short(limit) for key, limit in context.items()})


def _short(limit: Any) -> Any:
    """A limit of 0.0 is written 0."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _mismatch(path: Path, phrases: list[str], root: Node, layout: Layout, choices: list[str] | None = None) -> str:
    value = root.nearest(path).plain()
    text = f"{dotted(path)}: expected {' or '.join(dict.fromkeys(phrases))}, found {found(value)}"
    return text + _advice(value, phrases, choices or _quoted(phrases), path, layout)


def _advice(value: Any, phrases: list[str], choices: list[str], path: Path, layout: Layout) -> str:
    """What to write instead, where it can be told."""
    slot = layout.at(path)
    wants = " ".join(phrases)
    if isinstance(value, str):
        near = near_miss(value, choices) if choices else None
        if near:
            return f". Did you mean '{near}'?"
        if slot is not None and value in slot.kinds():
            return f"; write {path[-1]}: {{{slot.chooser}: {value}}}"
        if "true or false" in wants and value.lower() in ("yes", "no", "on", "off"):
            return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
        bare = value.strip().replace("_", "")
        if "number" in wants and _is_number(bare):
            return f"; write {bare}, without {'_' if '_' in value else 'quotes'}"
    if isinstance(value, float) and "whole" in wants and value.is_integer():
        return f"; write {int(value)}"
    return ""


def _is_number(word: str) -> bool:
    value = read_scalar(word) if len(word) < 30 else None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(words: list[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]


def _quoted(phrases: list[str]) -> list[str]:
    """The words in quotes of an expectation such as ``'min' or 'max'``."""
    return [word for phrase in phrases if phrase.startswith("'") for word in phrase.split("'")[1::2]]

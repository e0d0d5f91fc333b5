"""Configs that inherit from others: chains of ``base:`` and how two configs become one."""

from __future__ import annotations

import os
from pathlib import Path as FilePath

from ignition.config.layout import Layout, Slot
from ignition.config.node import Node, Path
from ignition.config.problems import Place
from ignition.config.reading import Document, Problem, read_file


def read_chain(path: str | os.PathLike[str], layout: Layout) -> Document:
    """Read a config and all that it inherits from, merged. The ``base`` keys are gone from the result."""
    return _read(os.fspath(path), layout, [])


def _read(file: str, layout: Layout, heirs: list[str]) -> Document:
    document = read_file(file)
    base = document.root.value.pop("base", None)
    if base is None or base.value is None or not document.whole:
        return document
    heirs = [*heirs, file]
    problem = _bad_base(base, heirs)
    if problem:
        return Document(document.root, [*document.problems, Problem.at(base.place, problem)], whole=False)
    parent = _read(_beside(file, base.value), layout, heirs)
    problems = [*parent.problems, *document.problems]
    return Document(merge(parent.root, document.root, layout), problems, parent.whole)


def _bad_base(base: Node, heirs: list[str]) -> str | None:
    if not isinstance(base.value, str) or not base.value:
        return "base: expected the name of one config file"
    path = _beside(heirs[-1], base.value)
    if any(_same(path, heir) for heir in heirs):
        return f"base: configs inherit in a circle: {' <- '.join([*heirs, path])}"
    if not FilePath(path).is_file():
        return f"base: no such config file: {path}"
    return None


def _beside(file: str, base: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(file), base))


def _same(one: str, other: str) -> bool:
    return FilePath(one).resolve() == FilePath(other).resolve()


def merge(parent: Node, child: Node, layout: Layout, path: Path = ()) -> Node:
    """``child`` laid over ``parent``: mapping into mapping; anything else replaces what was there.

    A child that chooses another kind (``schedule.name``, ``clip.kind``) inherits nothing of that section, and one that
    changes a name drops what belongs to the old one (``optimizer.options``, ``data.val.root``).
    """
    if not (parent.is_mapping and child.is_mapping):
        return child
    slot = layout.at(path)
    if slot is not None and _other_kind(slot, parent, child):
        return child
    merged = dict(parent.value)
    for key, other, default in slot.belongings() if slot is not None else ():
        if other in child.value and child.value[other].value != _value(parent, other, default):
            merged.pop(key, None)
    for key, node in child.value.items():
        joins = key in merged and not (slot is not None and slot.whole(key))
        merged[key] = merge(merged[key], node, layout, (*path, key)) if joins else node
    return Node(merged, child.place if child.place.line else parent.place)


def join(parts: list[Node]) -> Node:
    """Mappings as one, the later ones over the earlier ones, with no rule but that."""
    joined = Node({}, Place(""))
    for part in parts:
        joined = merge(joined, part, Layout())
    return joined


def _other_kind(slot: Slot, parent: Node, child: Node) -> bool:
    if isinstance(slot.chooser, str):
        return slot.chooser in child.value and child.value[slot.chooser].value != _value(parent, slot.chooser, None)
    if slot.chooser is not None:
        return slot.chooser(child.plain()) != slot.chooser(parent.plain())
    return False


def _value(node: Node, key: str, default: object) -> object:
    return node.value[key].value if key in node.value else default

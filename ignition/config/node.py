"""A config as it was read: plain values that remember where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ignition.config.problems import Place

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A value with the place of its key: a scalar, a list of nodes, or a dict of nodes whose keys are text."""

    value: Any
    place: Place

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    def child(self, key: str | int) -> Node | None:
        """The node under ``key`` (of a mapping) or index (of a list), or None."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def steps(self) -> Iterable[str | int]:
        """The keys of a mapping, the indices of a list; a scalar has none."""
        if isinstance(self.value, (dict, list)):
            return list(self.value) if isinstance(self.value, dict) else range(len(self.value))
        return ()

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def nearest(self, path: Path) -> Node:
        """The node at ``path``, or the deepest one on the way there."""
        node = self
        for key in path:
            step = node.child(key)
            if step is None:
                break
            node = step
        return node


def dotted(path: Path) -> str:
    """A path as people write it.

    >>> dotted(("optimizer", "groups", 0, "lr"))
    'optimizer.groups[0].lr'
    """
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text

"""Where each setting of a config stands."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ignition.config.inheritance import merge, read_chain
from ignition.config.layout import Layout
from ignition.config.node import Node
from ignition.config.overrides import read_overrides
from ignition.config.problems import Place
from ignition.config.section import Section
from ignition.config.sections import Config


class Places:
    """Where the settings of a config stand: in a line of a file, on the command line, or nowhere.

    What is wrong in the files is for `load_config` to tell.

    Args:
        path, overrides, recipe_settings: as for `load_config`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        overrides: Iterable[str] = (),
        recipe_settings: type[Section] | None = None,
    ):
        layout = Layout.of(Config, recipe_settings)
        self._file = os.fspath(path) if path is not None else "(no config file)"
        root = read_chain(path, layout).root if path is not None else Node({}, Place(self._file))
        self._root = merge(root, read_overrides(overrides).root, layout)

    @property
    def task(self) -> str | None:
        """The recipe's name, where one is given."""
        given = self._root.child("task")
        return given.value if given is not None and isinstance(given.value, str) else None

    def of(self, key: str) -> str:
        """The place of a key such as ``optimizer.lr``. Of a default: its section's, or the file, where it would stand.

        >>> places = Places(None, ["optimizer.lr=1e-3"])
        >>> places.of("optimizer.lr"), places.of("clip.kind")
        ('command line: optimizer.lr=1e-3', '(no config file)')
        """
        node = self._root.nearest(tuple(key.split(".")))
        return self._file if node is self._root else str(node.place)

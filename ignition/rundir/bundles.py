"""The bundles of a run: one folder for each incident that can be replayed, and what the files in it are called."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignition.rundir.rows import Rows, read_json, replace_file, to_json

log = logging.getLogger(__name__)

INCIDENT, ROWS, LAYERS, STATE, CONFIG = "incident.json", "rows.jsonl", "layers.csv", "before.pt", "config.yaml"
TEMPORARY = ".tmp-"


class Bundle:
    """One incident's folder.

    >>> Bundle("incidents/00000037-non_finite").first
    37
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.name

    @property
    def first(self) -> int:
        """The iteration in its name, in which the incident began."""
        return int(self.name.partition("-")[0])

    @property
    def state(self) -> Path:
        """The checkpoint from before the incident; there may be none."""
        return self.path / STATE

    @property
    def layers(self) -> Path:
        """The table of the parameters."""
        return self.path / LAYERS

    @property
    def config(self) -> Path:
        """The settings that the run had then."""
        return self.path / CONFIG

    def write_config(self, text: str) -> None:
        """Keep the settings.

        Raises:
            OSError: they could not be written.
        """
        replace_file(self.config, text.encode())

    def write_incident(self, values: Mapping[str, Any]) -> None:
        """Write incident.json.

        Raises:
            OSError: it could not be written.
        """
        replace_file(self.path / INCIDENT, to_json(values))

    def read_incident(self) -> dict[str, Any]:
        """What it says; empty where it cannot be read."""
        return read_json(self.path / INCIDENT)

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of the log that led there.

        Raises:
            OSError: they could not be written.
        """
        Rows.write_all(self.path / ROWS, rows)

    def read_rows(self) -> list[dict[str, Any]]:
        """They."""
        return Rows(self.path / ROWS).read()


class Bundles:
    """The folder of all bundles of a run. Each is whole or absent.

    Args:
        path: made when the first bundle is.
    """

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[Bundle]:
        try:
            names = sorted(os.listdir(self.path))
        except OSError:
            return
        yield from (Bundle(self.path / name) for name in names if re.match(r"\d{8,}-", name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @contextlib.contextmanager
    def writing(self, first: int, name: str) -> Iterator[Bundle]:
        """A new bundle of what was found by ``name`` in the iteration ``first``; it has its place when the block ends.

        Raises:
            OSError: it could not be written; nothing of it stays.
        """
        temporary = self.path / f"{TEMPORARY}{os.getpid()}-{first:08d}-{name}"
        try:
            temporary.mkdir(parents=True)
            yield Bundle(temporary)
            os.rename(temporary, self._free(f"{first:08d}-{name}"))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _free(self, name: str) -> Path:
        """A place for it; several terms of a loss may go wrong in the same iteration."""
        path, number = self.path / name, 1
        while path.exists():
            number += 1
            path = self.path / f"{name}-{number}"
        return path

    def of(self, row: Mapping[str, Any]) -> Bundle | None:
        """The bundle of the incident of which ``row`` is the row."""
        told = ("iteration", "name", "first", "subject")
        for bundle in self:
            incident = bundle.read_incident()
            if bundle.first == row.get("first") and all(incident.get(key) == row.get(key) for key in told):
                return bundle
        return None

    def rewind(self, iteration: int) -> None:
        """Take away those that later iterations than this have told, and those that cannot be read."""
        for bundle in list(self):
            if not bundle.read_incident().get("iteration", float("inf")) <= iteration:
                shutil.rmtree(bundle.path)

    def clean(self) -> None:
        """Take away what a run that was killed had half written."""
        for litter in self.path.glob(f"{TEMPORARY}*"):
            shutil.rmtree(litter, ignore_errors=True)

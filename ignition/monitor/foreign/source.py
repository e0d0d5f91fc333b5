"""What a reader of somebody else's log gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Source(Protocol):
    """A log that is followed.

    Attributes:
        path: of the log.
        bad: lines or records that could not be read.
        problem: why the log cannot be read at all; empty where it can.
        by_epochs: whether it has a row an epoch.
        attempts: whether a row that goes back in iterations takes back what came after, for all names.
        facts: what the log says of the whole run: ``iterations``, ``epochs``, ``epoch``.
        notes: what is to be known about how it was read.
    """

    path: Path
    bad: int
    attempts: bool
    facts: dict[str, Any]
    notes: list[str]

    @property
    def problem(self) -> str: ...

    @property
    def by_epochs(self) -> bool: ...

    def renewed(self) -> bool:
        """Look at the log. Whether what was read of it no longer holds."""

    def rows(self) -> list[dict[str, Any]]:
        """The next rows, with ``iteration``, ``time`` and ``epoch`` as far as known, and its own names; empty where
        there are no further ones. A row with ``rewind`` takes back what later iterations than that one have told.
        """

    def again(self) -> None:
        """Begin anew with the first row."""

"""What whoever shows a run needs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ignition.monitor.curves import Curves
from ignition.monitor.incidents import Incident
from ignition.monitor.state import State
from ignition.review.objection import Objection


class Run(Protocol):
    """A run that is followed: `Watched` where it is ours, `foreign.run.Foreign` where it is somebody else's.

    Attributes:
        name, path: of its folder or log.
        state: how it stands.
        settings: its config as text; empty where there is none.
        objections: what was objected to in its config.
        pictures: the newest ones.
        curves: what its rows told.
        findings: what its doctor found, or ours in its rows; the oldest first.
        problems: what could not be read, in words.
        notes: what is to be known about how it was read.
    """

    name: str
    path: Path
    state: State
    settings: str
    objections: list[Objection]
    pictures: list[Path]

    @property
    def curves(self) -> Curves: ...

    @property
    def findings(self) -> list[Incident]: ...

    @property
    def problems(self) -> list[str]: ...

    @property
    def notes(self) -> list[str]: ...

    def update(self, seconds: float | None = 0.5) -> bool:
        """Read what is new, for about so long; None: all of it. Whether anything has changed but the time of day."""

"""What is at a path: a run of ours, or somebody else's log."""

from __future__ import annotations

from pathlib import Path

from ignition.monitor.watched import Watched


class NoRun(ValueError):
    """There is nothing at a path that can be followed; says what was looked for."""


def open_run(path: str | Path) -> Watched:
    """What is there, to be followed.

    Raises:
        NoRun: there is nothing.
    """
    path = Path(path).expanduser()
    return Watched(path)

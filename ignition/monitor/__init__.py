"""Follows runs by their files, dead or alive. Needs no torch, and never writes into a run.

Each name is imported when first asked for: a command that only says how it is used should not wait for numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignition.monitor.curves import Curves, Point
    from ignition.monitor.incidents import Incident
    from ignition.monitor.run import Run
    from ignition.monitor.runs import NoRun, open_run
    from ignition.monitor.state import State
    from ignition.monitor.watched import Watched

_MODULES = {
    "Curves": "curves",
    "Incident": "incidents",
    "NoRun": "runs",
    "Point": "curves",
    "Run": "run",
    "State": "state",
    "Watched": "watched",
    "open_run": "runs",
}

__all__ = ["Curves", "Incident", "NoRun", "Point", "Run", "State", "Watched", "open_run"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value

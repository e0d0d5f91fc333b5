"""The folder of a run: the only place that knows what the files in it are called, and how they are written."""

from ignition.rundir.bundles import Bundle, Bundles
from ignition.rundir.environment import environment
from ignition.rundir.folder import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    RunFolder,
    RunFolderError,
    checkpoint_iteration,
    checkpoint_name,
)
from ignition.rundir.rows import OF_THE_MACHINE, Rows

__all__ = [
    "BEST_CHECKPOINT",
    "LAST_CHECKPOINT",
    "OF_THE_MACHINE",
    "Bundle",
    "Bundles",
    "Rows",
    "RunFolder",
    "RunFolderError",
    "checkpoint_iteration",
    "checkpoint_name",
    "environment",
]

"""Checkpoints as files: written whole or not at all, checked, and loaded without running anything."""

from ignition.checkpoint_file.content import NotFinite, Payload, check_finite, check_plain, is_finite, moved
from ignition.checkpoint_file.file import VERSION, BadCheckpoint, link, load, save
from ignition.checkpoint_file.folder import (
    BEST,
    LAST,
    clean_litter,
    iteration_of,
    name_of,
    newest_good,
    numbered,
    set_aside,
)
from ignition.checkpoint_file.modules import give_state, infinite_buffers, misfits, state_of

__all__ = [
    "BEST",
    "LAST",
    "VERSION",
    "BadCheckpoint",
    "NotFinite",
    "Payload",
    "check_finite",
    "check_plain",
    "clean_litter",
    "give_state",
    "infinite_buffers",
    "is_finite",
    "iteration_of",
    "link",
    "load",
    "misfits",
    "moved",
    "name_of",
    "newest_good",
    "numbered",
    "save",
    "set_aside",
    "state_of",
]

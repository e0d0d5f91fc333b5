"""Checkpoints as files: written whole or not at all, checked, and loaded without running anything."""

from ignition.checkpoint_file.content import NotFinite, Payload, check_finite, check_plain, is_finite, moved
from ignition.checkpoint_file.file import VERSION, BadCheckpoint, link, load, save
from ignition.checkpoint_file.folder import clean_litter, newest_good, numbered, set_aside
from ignition.checkpoint_file.modules import give_state, infinite_buffers, misfits, state_of

__all__ = [
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
    "link",
    "load",
    "misfits",
    "moved",
    "newest_good",
    "numbered",
    "save",
    "set_aside",
    "state_of",
]

"""Checkpoints as files: written whole or not at all, checked, and loaded without running anything."""

from ignition.checkpoint_file.background import Background
from ignition.checkpoint_file.content import NotFinite, Payload, check_finite, check_plain, is_finite, moved
from ignition.checkpoint_file.file import VERSION, BadCheckpoint, check, link, load, peek, save
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
from ignition.checkpoint_file.host_copy import HostCopy
from ignition.checkpoint_file.keeping import Found, KeptFiles, Written
from ignition.checkpoint_file.modules import give_state, infinite_buffers, misfits, state_of
from ignition.checkpoint_file.objects import check_names, give_states, states_of
from ignition.checkpoint_file.saving import Save, Saving, SavingFailed
from ignition.checkpoint_file.weights import choose_weights, save_weights

__all__ = [
    "BEST",
    "LAST",
    "VERSION",
    "Background",
    "BadCheckpoint",
    "Found",
    "HostCopy",
    "KeptFiles",
    "NotFinite",
    "Payload",
    "Save",
    "Saving",
    "SavingFailed",
    "Written",
    "check",
    "check_finite",
    "check_names",
    "check_plain",
    "choose_weights",
    "clean_litter",
    "give_state",
    "give_states",
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
    "peek",
    "save",
    "save_weights",
    "set_aside",
    "state_of",
    "states_of",
]

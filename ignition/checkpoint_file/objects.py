"""The objects of a run and one checkpoint: their states into it, and out of it again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ignition.checkpoint_file.content import Payload
from ignition.checkpoint_file.file import VERSION, BadCheckpoint
from ignition.checkpoint_file.modules import give_state, misfits, state_of
from ignition.distributed.sharding import gathered

# What a checkpoint says of itself, beside the states.
OWN_KEYS = ("version", "iteration", "epoch", "epoch_length", "score", "metric", "mode", "not_finite")


def check_names(objects: Mapping[str, Any]) -> None:
    """Refuse names that a checkpoint has for itself.

    >>> check_names({"model": nn.Linear(1, 1), "score": 1})
    Traceback (most recent call last):
        ...
    ValueError: no object can be called score: a checkpoint has that already
    """
    taken = [name for name in objects if name in OWN_KEYS]
    if taken:
        raise ValueError(f"no object can be called {', '.join(taken)}: a checkpoint has that already")


def states_of(objects: Mapping[str, Any], **told: Any) -> Payload:
    """All that goes into a checkpoint: what it says of itself, and the states of the objects as they are now.

    What is shared out over processes is whole in it, on process 0: one file, whatever the number of processes.
    """
    return {"version": VERSION, **told, **{name: gathered(state_of(thing)) for name, thing in objects.items()}}


def give_states(path: Path, payload: Payload, objects: Mapping[str, Any], optional: Collection[str]) -> None:
    """Give each object its state out of the checkpoint at ``path``, after making sure that all of them fit.

    Args:
        optional: names of objects that may be missing on either side.

    Raises:
        BadCheckpoint: they do not fit; says why.
    """
    here = [name for name in objects if name in payload or name not in optional]
    problems = [f"has no state of '{name}'" for name in here if name not in payload]
    problems += [
        f"has a state of '{name}', for which there is no object"
        for name in payload
        if name not in objects and name not in OWN_KEYS and name not in optional
    ]
    if not isinstance(payload.get("iteration"), int):
        problems.append("does not say its iteration")
    for name in here if not problems else []:
        if isinstance(objects[name], nn.Module):
            problems += [f"does not fit '{name}': {why}" for why in misfits(objects[name], payload[name])]
    if problems:
        raise BadCheckpoint(path, "; it ".join(problems))
    loaded: list[str] = []
    for name in here:
        try:
            give_state(objects[name], payload[name])
        except Exception as error:
            before = f"{', '.join(loaded)} had been loaded already: make new objects before going on"
            why = f"the state of '{name}' cannot be loaded: {error}" + (f" ({before})" if loaded else "")
            raise BadCheckpoint(path, why) from error
        loaded.append(name)

"""Whether snapshots of a training fit into the memory of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ignition.distributed.sharding import own_share

MEMINFO = Path("/proc/meminfo")
SHARE = 0.5  # of what is free, that snapshots may take


def available() -> int | None:
    """Bytes that programs can still get without swapping; None where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def states_size(objects: Mapping[str, Any]) -> int:
    """About how many bytes the states of these objects will have, with two moments of each weight."""
    size = 0
    for thing in objects.values():
        module = thing if isinstance(thing, nn.Module) else getattr(thing, "module", None)
        if module is not None:
            size += sum(
                own_share(tensor).nbytes for tensor in module.state_dict().values() if hasattr(tensor, "nbytes")
            )
        for group in getattr(thing, "param_groups", ()):
            size += 2 * sum(own_share(parameter).nbytes for parameter in group["params"])
    return size


def shortage(objects: Mapping[str, Any], copies: int) -> str:
    """Why so many copies of the states do not fit, in words; empty if they do, or if nobody knows."""
    free = available()
    needed = copies * states_size(objects) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if free is None or needed <= SHARE * free:
        return ""
    return f"{copies} snapshots take about {needed / 2**30:.1f} GiB of host memory, and {free / 2**30:.1f} GiB are free"

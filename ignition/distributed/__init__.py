"""Processes of one run: who we are, how all come to one decision, who is gone, and weights that are shared out."""

from ignition.distributed.group import (
    ProcessLost,
    agree,
    cause_of,
    from_first,
    gather,
    highest,
    launched_by_torchrun,
    local_rank,
    process_group,
    rank,
    share_buffers,
    total,
    totals,
    world_size,
)

__all__ = [
    "ProcessLost",
    "agree",
    "cause_of",
    "from_first",
    "gather",
    "highest",
    "launched_by_torchrun",
    "local_rank",
    "process_group",
    "rank",
    "share_buffers",
    "total",
    "totals",
    "world_size",
]

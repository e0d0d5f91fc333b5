"""Where the run is saved, killed and ended."""

from __future__ import annotations

import re
from typing import NamedTuple

SECONDS = 60.0  # an end of an epoch that is so near is waited for: its evaluation and the next epoch's order count too
WARM = 2  # iterations, until it is known how long one takes


class Plan(NamedTuple):
    """The iterations after which a run is saved, is killed, and after which the comparison ends."""

    save: int
    kill: int
    end: int


def read_plan(words: str) -> tuple[int, int]:
    """N and M of ``N+M``: iterations before and after the interruption.

    Raises:
        ValueError: it is written otherwise, or less than one iteration.

    >>> read_plan("30+10")
    (30, 10)
    """
    match = re.fullmatch(r"(\d+)\+(\d+)", words)
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError(f"{words!r} is no N+M, for instance 30+10: save after iteration 30, compare to iteration 40")
    return int(match[1]), int(match[2])


def choose(
    asked: tuple[int, int] | None, *, epoch_length: int, accumulate: int, iterations: int, seconds: float
) -> Plan:
    """Where to interrupt a run of so many ``iterations``, each of which takes ``seconds``.

    A save and an end wait for the end of a group of ``accumulate`` batches. If nothing is asked for, the save is in the
    middle of the first epoch, and the comparison goes on into the second one if that is near.

    Raises:
        ValueError: the run is too short.

    >>> choose(None, epoch_length=25, accumulate=1, iterations=1000, seconds=0.5)
    Plan(save=12, kill=14, end=28)
    >>> choose(None, epoch_length=25, accumulate=1, iterations=1000, seconds=9.0)
    Plan(save=12, kill=14, end=22)
    >>> choose((5, 4), epoch_length=25, accumulate=4, iterations=1000, seconds=0.5)
    Plan(save=8, kill=10, end=12)
    """

    def at_group_end(iteration: int) -> int:
        within = (iteration - 1) % epoch_length + 1
        return iteration + min(-within % accumulate, epoch_length - within)

    save, more = asked if asked is not None else (max(min(epoch_length // 2, 20), WARM), 0)
    save = at_group_end(save)
    if asked is None:
        rest = -save % epoch_length
        more = rest + 3 if rest * seconds <= SECONDS else 10
    end = min(at_group_end(save + more), iterations)
    if save >= iterations:
        raise ValueError(
            f"a run of {iterations} iterations ends before it could be interrupted after {save}: give --verify-resume "
            "N+M with a smaller N, or more trainer.epochs"
        )
    return Plan(save, min(save + 2, end), end)

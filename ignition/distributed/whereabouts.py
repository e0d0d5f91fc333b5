"""Where a process of a run is in its program: what can be told of one that does not answer."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType
from typing import NamedTuple

# As they are named in sys.path, and so in frames: links stay links there.
_OURS = Path(__file__).parents[1]
_PLACES = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
_LIBRARIES = (*_PLACES, *map(os.path.realpath, _PLACES))


class Whereabouts(NamedTuple):
    """What the main thread of a process is at. ``waits``: for other processes, as far as can be seen."""

    rank: int
    pid: int
    host: str
    place: str
    waits: bool

    def __str__(self) -> str:
        return f"process {self.rank} (pid {self.pid} on {self.host}) is in {self.place}"


def whereabouts(rank: int) -> Whereabouts:
    """Of this process, which has that number; may be asked by any of its threads.

    >>> whereabouts(0).place.startswith("<module> ")
    True
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    place, waits = _place(frame) if frame is not None else ("no place, its main thread has ended", False)
    return Whereabouts(rank, os.getpid(), socket.gethostname(), place, waits)


def _place(innermost: FrameType) -> tuple[str, bool]:
    """The innermost line that no library wrote, and whether what it calls waits for other processes."""
    frame: FrameType | None = innermost
    waits = False
    while frame is not None and _is_librarys(frame):
        waits = waits or _is_waiting(frame)
        frame = frame.f_back
    own = frame or innermost
    return f"{own.f_code.co_name} ({_short(own.f_code.co_filename)}, line {own.f_lineno})", waits


def _is_librarys(frame: FrameType) -> bool:
    path = Path(frame.f_code.co_filename)
    if _OURS in path.parents:  # may be installed beside libraries
        return _OURS / "distributed" in path.parents
    return frame.f_code.co_filename.startswith(("<frozen", *_LIBRARIES))


def _is_waiting(frame: FrameType) -> bool:
    """So is one that has waited in vain, and now asks. Gradients are averaged in the backward pass, out of sight."""
    path = frame.f_code.co_filename.replace(os.sep, "/")
    return "/distributed/" in path or frame.f_code.co_name == "_engine_run_backward"


def _short(file: str) -> str:
    path = Path(file)
    base = next((base for base in (Path.cwd(), _OURS.parent) if base in path.parents), None)
    return str(path.relative_to(base)) if base else file

"""One owner of a folder at a time, whatever way the owner ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ignition.process import is_alive
from ignition.rundir.environment import now
from ignition.rundir.rows import read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


class Locked(RuntimeError):
    """Another process has the lock; its text says which one, where and since when."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of a ``with`` block.

    The lock is the system's (flock), which frees it when the process ends, by kill -9 as well.

    Raises:
        Locked: another process holds it.
        OSError: the file cannot be written.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    _held.add(file)
    try:
        try:
            if fcntl is None:
                raise OSError("there is no flock on this system")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(_owner(path)) from error
        except OSError as error:  # a file system without locks
            log.warning("%s cannot be locked, take care that only one process uses it: %s", path.parent, error)
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": now()})
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(file, 0)
            os.write(file, owner.encode())
        yield
    finally:
        _held.discard(file)
        os.close(file)


def owner(path: Path) -> str | None:
    """Who holds the lock file ``path``: which process, where, since when; None: nobody. Changes nothing.

    Where a process of this host is named that is gone, the lock is not even tried: whoever wants to take it just now
    would find it held.
    """
    named = read_json(path)
    if named.get("host") == socket.gethostname() and not is_alive(named.get("pid")):
        return None
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(path)
    except OSError:  # a file system without locks does not say
        return None
    finally:
        os.close(file)
    return None


def _owner(path: Path) -> str:
    values = read_json(path)
    if "pid" not in values:
        return "another process"
    return f"process {values['pid']} on {values.get('host')} since {values.get('started')}"


# A forked loader worker shares its parent's locks and would go on holding them after the parent was killed.
_held: set[int] = set()


def _let_go() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

"""Whether a process of this machine is there."""

from __future__ import annotations

import os


def is_alive(pid: object) -> bool:
    """Whether a process has that number, be it somebody else's; what is no number of a process has none.

    On Windows all are taken to be: asking in this way would end the process.

    >>> is_alive(os.getpid()), is_alive("one"), is_alive(-1), is_alive(10**30)
    (True, False, False, False)
    """
    if not isinstance(pid, int) or pid <= 0:
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is not ours
        return True
    return True

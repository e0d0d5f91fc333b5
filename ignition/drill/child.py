"""One process of a drill, forked from this one."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


class Lost(Exception):
    """An accident was not survived; says what was lost."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative if a signal did it, and what it said."""

    code: int
    said: str
    seconds: float

    @property
    def resumed_at(self) -> int | None:
        """The iteration from which it said to go on."""
        found = re.search(r"resumed at iteration (\d+)", self.said)
        return int(found[1]) if found else None

    @property
    def last_words(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


class Child:
    """A process of a run, in a group of its own: Ctrl-C on the terminal reaches this one alone, which ends it."""

    def __init__(self, work: Callable[[], int], log: Path):
        self.log, self._began = log, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # numpy's threads, which know what a fork is
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _be(work, log)
        with contextlib.suppress(OSError):  # the child does it as well: whoever comes first
            os.setpgid(self.pid, self.pid)
        self._code: int | None = None

    def wait(self, timeout: float, until: Callable[[], bool] = lambda: False) -> Ended | None:
        """Wait for its end, or for ``until``: then None.

        Raises:
            Lost: it took too long; it is killed.
        """
        end = time.monotonic() + timeout
        while self._poll() is None:
            if until():
                return None
            if time.monotonic() > end:
                self.kill()
                raise Lost(f"it hung: nothing came of it in {timeout:g} s. {self._said()[-300:]}")
            time.sleep(0.01)
        return self._ended()

    def kill(self) -> Ended:
        """End it and all that it has begun, by SIGKILL."""
        if self._poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._ended()

    def _ended(self) -> Ended:
        with contextlib.suppress(OSError):  # loader workers that outlive it
            os.killpg(self.pid, signal.SIGKILL)
        assert self._code is not None
        return Ended(self._code, self._said(), time.monotonic() - self._began)

    def _poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def _said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _be(work: Callable[[], int], log: Path) -> NoReturn:
    """What the child is from its first line to its last."""
    code = 70
    try:
        os.setpgid(0, 0)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(number, handler)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        # What stood for these may be a pipe's or a test's.
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
        logging.basicConfig(force=True)  # parse() gives it its form; a handler would still write to the old place
        logging.getLogger().handlers.clear()
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

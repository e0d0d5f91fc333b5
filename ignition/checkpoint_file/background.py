"""One job at a time beside the loop, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Does one job at a time in a thread. Nothing that was begun is lost: the interpreter ends after it.

    >>> background = Background("sums")
    >>> background.start(lambda: sum(range(1000)))
    >>> background.result()
    499500
    """

    def __init__(self, name: str):
        self.name = name
        self._thread: threading.Thread | None = None
        self._outcome: tuple[Any, BaseException | None] = None, None

    def start(self, job: Callable[[], Any]) -> None:
        """Begin ``job``, once the one before is done. What that one gave, and nobody has asked for, is forgotten."""
        self.wait()

        def work() -> None:
            try:
                self._outcome = job(), None
            except BaseException as error:
                self._outcome = None, error
                log.exception("%s ended with an error", self.name)  # now: who asks for it may come late, or never

        # No daemon: the interpreter waits for it when it ends.
        self._thread = threading.Thread(target=work, name=self.name, daemon=False)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending, or the system has no more threads
            self._thread = None
            work()

    def wait(self) -> None:
        """Wait until nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def result(self) -> Any:
        """Wait for the job, and return what it gave or raise what it raised."""
        self.wait()
        (value, error), self._outcome = self._outcome, (None, None)
        if error is not None:
            raise error
        return value

"""Keys as they are pressed, from a terminal that is given back as it was."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
from typing import Any

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up",
          "\x1b[6~": "page down", "\x1b[H": "home", "\x1b[F": "end"}  # fmt: skip


class Keyboard:
    """Keys of standard input for the length of a ``with`` block; where it is no terminal there are none."""

    def __init__(self) -> None:
        self._before: Any = None
        self._file = -1

    def __enter__(self) -> Keyboard:
        if termios is not None and sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)  # Ctrl-C goes on being a signal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def key(self, seconds: float) -> str | None:
        """The next key, or None after so long; ``end of input`` where the terminal is gone."""
        if self._before is None:
            select.select([], [], [], seconds)
            return None
        ready, _, _ = select.select([self._file], [], [], seconds)
        if not ready:
            return None
        pressed = os.read(self._file, 16).decode(errors="replace")
        return ARROWS.get(pressed, pressed[:1]) if pressed else "end of input"

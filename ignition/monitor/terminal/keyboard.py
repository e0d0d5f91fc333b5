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
        self._pressed = ""  # and not asked for yet

    def __enter__(self) -> Keyboard:
        if termios is not None and sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()

    def take(self) -> None:
        """Have keys come as they are pressed, and not be shown. Ctrl-C and Ctrl-Z go on being signals."""
        if self._before is not None:
            tty.setcbreak(self._file)

    def give_back(self) -> None:
        """Leave the terminal as it was."""
        if self._before is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def key(self, seconds: float) -> str | None:
        """The next key, or None after so long; ``end of input`` where the terminal is gone."""
        if self._before is None:
            select.select([], [], [], seconds)
            return None
        if not self._pressed:
            ready, _, _ = select.select([self._file], [], [], seconds)
            if not ready:
                return None
            self._pressed = os.read(self._file, 64).decode(errors="replace")
            if not self._pressed:
                return "end of input"
        signs = next((signs for signs in ARROWS if self._pressed.startswith(signs)), self._pressed[0])
        self._pressed = self._pressed[len(signs) :]
        return ARROWS.get(signs, signs)

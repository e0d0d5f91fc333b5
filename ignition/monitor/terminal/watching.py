"""The page in a terminal: printed once, or kept up to date until somebody quits."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ignition import curve
from ignition.monitor.run import Run
from ignition.monitor.terminal.keyboard import Keyboard
from ignition.monitor.terminal.page import Page
from ignition.monitor.words import clean, figure

EVERY = 1.0  # seconds between two looks at the files
AHEAD, BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen without a cursor, and the old one again


def print_page(runs: Sequence[Run], console: Console) -> None:
    """The page once."""
    for line in _page(console).of(runs):
        console.print(line, no_wrap=True, overflow="crop", highlight=False, soft_wrap=not console.is_terminal)


def watch(runs: Sequence[Run], console: Console) -> None:
    """Keep the page up to date until q is pressed; where no cursor can be moved, tell what is new in lines.

    Ends by itself where nothing is left to be waited for and nobody is at a keyboard.
    """
    movable = console.is_terminal and not console.is_dumb_terminal
    signal.signal(signal.SIGTERM, _quit)
    try:
        if movable:
            _Screen(runs, console).show()
        else:
            _tell(runs, console)
    except BrokenPipeError:  # whoever read is gone
        sys.stderr.close()


def _quit(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _page(console: Console, height: int | None = None) -> Page:
    faint = console.is_terminal and not console.is_dumb_terminal and not console.no_color
    return Page(console.width, plain=not curve.fits(console.encoding), faint=faint, height=height)


class _Screen:
    """The page on a screen of its own."""

    KEYS = "q quit   ↑↓ or k j scroll   space, b a page"

    def __init__(self, runs: Sequence[Run], console: Console):
        self.runs, self.console = runs, console
        self._keyboard = Keyboard()
        self._top = 0
        self._drawn: tuple[Any, ...] = ()
        self._lines: list[Text] = []

    def show(self) -> None:
        """Until somebody quits."""
        with self._keyboard, self._own_screen():
            looked = 0.0
            while True:
                if time.monotonic() - looked >= EVERY or any(run.state.read < 1 for run in self.runs):
                    for run in self.runs:
                        run.update(0.3)
                    looked = time.monotonic()
                self._draw()
                key = self._keyboard.key(0.1)
                if key in ("q", "Q", "end of input"):
                    return
                self._scroll(key)

    @contextlib.contextmanager
    def _own_screen(self) -> Iterator[None]:
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, self._stand_by)
        self._write(AHEAD)
        try:
            yield
        finally:
            self._write(BACK)

    def _stand_by(self, number: int, frame: Any) -> None:
        """Ctrl-Z: the terminal is the shell's until it lets this go on."""
        self._write(BACK)
        self._keyboard.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._keyboard.take()
        self._write(AHEAD)
        self._drawn = ()

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()

    def _scroll(self, key: str | None) -> None:
        room = self.console.height - 1
        step = {"j": 1, "down": 1, "k": -1, "up": -1, " ": room, "page down": room, "b": -room, "page up": -room,
                "g": -10**9, "home": -10**9, "G": 10**9, "end": 10**9}.get(key or "", 0)  # fmt: skip
        self._top = min(max(self._top + step, 0), max(len(self._lines) - room, 0))

    def _draw(self) -> None:
        """Write the screen anew where it has changed; over what is there, so that nothing flickers."""
        width, height = self.console.size
        self._lines = _page(self.console, height).of(self.runs)
        self._scroll(None)
        room = height - 1
        shown = self._lines[self._top : self._top + room]
        more = len(self._lines) - self._top - room
        foot = Text(f"{self.KEYS}   {f'{more} more lines' if more > 0 else ''}"[: width - 1], style="dim")
        screen = (width, height, [line.markup for line in shown], foot.plain)
        if screen == self._drawn:
            return
        self._drawn = screen
        buffer = io.StringIO()
        for number, line in enumerate([*shown, *[Text()] * (room - len(shown)), foot], start=1):
            buffer.write(f"\x1b[{number};1H{self._painted(line)}\x1b[K")
        self._write(buffer.getvalue())

    def _painted(self, line: Text) -> str:
        with self.console.capture() as captured:
            self.console.print(line, end="", no_wrap=True, overflow="crop", highlight=False)
        return captured.get()


def _tell(runs: Sequence[Run], console: Console) -> None:
    """The page, and then a line for each that is new."""
    for run in runs:
        run.update(2.0)
    print_page(runs, console)
    told = [(_place(run), len(run.findings)) for run in runs]
    while any(run.state.alive for run in runs):
        console.file.flush()
        time.sleep(EVERY)
        for number, run in enumerate(runs):
            if not run.update(2.0):
                continue
            place, findings = told[number]
            for incident in run.findings[findings:]:
                console.print(
                    Text(f"{clean(run.name)}: {incident.severity}: {clean(incident.message)}"), soft_wrap=True
                )
            if _place(run) != place:
                console.print(Text(_line(run)), soft_wrap=True)
            told[number] = (_place(run), len(run.findings))


def _place(run: Run) -> tuple[Any, ...]:
    return run.state.status, run.state.epoch, run.state.best


def _line(run: Run) -> str:
    state = run.state
    words = [clean(run.name), state.status]
    words += [f"epoch {state.epoch}/{figure(state.epochs)}", f"loss {figure(state.loss)}"] if state.epoch else []
    words += [f"{clean(state.metric)} {figure(state.last)}"] if state.metric and state.last is not None else []
    return ", ".join(words)

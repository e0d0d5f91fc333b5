"""How a whole study goes on, in a terminal: a bar over all runs, and a line for each that ends."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ignition.studies.schedule import Job


class StudyProgress:
    """Tells on ``console``; where that is no terminal, lines alone."""

    def __init__(self, name: str, console: Console):
        self.name, self.console = name, console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def started(self, job: Job) -> None:
        """A run was begun or taken up."""
        self.console.print(f"{self.name}: {job.name} began", highlight=False)

    def ended(self, job: Job, state: str) -> None:
        """A run ended, in that state."""
        self.console.print(f"{self.name}: {job.name} {state}", highlight=False)

    def look(self, running: list[Job], done: int, total: int) -> None:
        """How much is done: runs that have ended, and shares of those at work."""
        if not self._bar.disable:
            shares = sum(job.share for job in running)
            names = ", ".join(job.name for job in running)
            self._bar.update(self._task, total=total, completed=done + shares, description=f"{self.name} {names}")

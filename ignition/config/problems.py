"""What is wrong in a config, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COMMAND_LINE = "command line: "


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file with line and column (from 1), or an override as it was typed."""

    file: str
    line: int | None = None
    column: int | None = None

    @classmethod
    def on_command_line(cls, override: str) -> Place:
        """The place of an override such as ``optimizer.lr=abc``."""
        return cls(COMMAND_LINE + override)

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, for a person to read.

    >>> print(Problem("configs/depth.yaml", 5, 3, "unknown key 'trainer.epocs'. Did you mean 'epochs'?"))
    configs/depth.yaml:5:3: unknown key 'trainer.epocs'. Did you mean 'epochs'?
    """

    file: str
    line: int | None
    column: int | None
    message: str

    @classmethod
    def at(cls, place: Place, message: str) -> Problem:
        """A problem at ``place``."""
        return cls(place.file, place.line, place.column, message)

    def __str__(self) -> str:
        text = f"{Place(self.file, self.line, self.column)}: {self.message}"
        # one problem, one line, whatever is quoted in it
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ConfigError(ValueError):
    """A config cannot be used. Its text has one line for each of ``problems``, by file and line, overrides last."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(sorted(set(problems), key=_order))
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def _order(problem: Problem) -> tuple[bool, str, int, int, str]:
    typed = problem.file.startswith(COMMAND_LINE)
    return typed, problem.file, problem.line or 0, problem.column or 0, problem.message

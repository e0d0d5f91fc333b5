"""What the drills print: which accidents there are, and what was survived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

SURVIVED, LOST, NOT_APPLICABLE = "survived", "NOT SURVIVED", "not applicable"
STYLES = {SURVIVED: "green", LOST: "bold red", NOT_APPLICABLE: "dim"}


@dataclass(frozen=True)
class Result:
    """What came of one accident."""

    name: str
    verdict: str
    seconds: float
    seen: str


def print_list(accidents: Mapping[str, str]) -> None:
    """The names of the accidents, and what each is."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, what in accidents.items():
        table.add_row(name, what)
    Console().print(table)


def print_results(recipe: str, results: Iterable[Result]) -> None:
    """The table of a drill."""
    caption = "exact: weights, optimizer and rows of the log are in the end those of a run to which nothing happened"
    table = Table(title=recipe, caption=caption, title_justify="left", caption_justify="left", header_style="bold")
    table.add_column("accident", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("seen")
    for result in results:
        style = STYLES[result.verdict]
        table.add_row(result.name, f"[{style}]{result.verdict}[/]", f"{result.seconds:.1f}", result.seen)
    console = Console()
    console.print()
    console.print(table)

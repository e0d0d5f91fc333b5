"""What came out of studies, for a terminal and as a page of Markdown with pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from ignition.comparison import config_difference
from ignition.comparison.chart import chart
from ignition.comparison.comparison import OTHER_SCALE, Comparison, Test
from ignition.comparison.figures import full
from ignition.comparison.page import curves_of
from ignition.comparison.table import cell
from ignition.rundir.rows import replace_file
from ignition.studies.outcome import Outcome
from ignition.studies.verdict import FAILED, HELD, OPEN, Verdict

MANUAL = "study.md"


def verdict_table(outcome: Outcome) -> Table:
    """Each expectation and what became of it."""
    table = Table(header_style="bold")
    for column in ("expected of", "figure", "expected", "verdict", "why"):
        table.add_column(column)
    colours = {HELD: "green", FAILED: "red", OPEN: "yellow"}
    for verdict in outcome.verdicts:
        expected = verdict.expectation
        word = f"[{colours[verdict.word]}]{verdict.word}[/]"
        table.add_row(expected.of, expected.figure, expected.text, word, verdict.why)
    return table


def counts(verdicts: list[Verdict]) -> str:
    """How many held, failed and could not be decided, in words."""
    found = Counter(verdict.word for verdict in verdicts)
    return f"{found[HELD]} held, {found[FAILED]} failed, {found[OPEN]} not decidable"


def write_report(outcomes: list[Outcome], path: Path, how: str) -> list[Path]:
    """Write the page of all studies, and their pictures beside it. The same runs give the same files.

    Args:
        path: of the page; pictures go to ``pictures`` beside it.
        how: the command that makes it, for the page to name.

    Returns:
        What was written.
    """
    pictures = path.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    written = [path]
    for outcome in (outcome for outcome in outcomes if outcome.groups):
        picture = pictures / f"results_{outcome.study.name}.svg"
        replace_file(picture, _picture(outcome).encode())
        written.append(picture)
    replace_file(path, "\n".join(_page(outcomes, how)).encode())
    return written


def _picture(outcome: Outcome) -> str:
    comparison = outcome.comparison
    metric = comparison.reference.first.metric
    metric = metric if any(metric in run.series for run in comparison.runs) else "val/loss"
    figures = [name for name in outcome.study.file.figures if name in comparison.known]
    name = figures[0] if figures else metric
    return chart(f"{outcome.study.name}: {name}", curves_of(comparison, name)) + "\n"


def _page(outcomes: list[Outcome], how: str) -> Iterator[str]:
    yield "# What held"
    yield ""
    yield f"Made by `{how}` and nothing else, from the runs that it makes. How to read it: [{MANUAL}]({MANUAL})."
    yield ""
    yield "| study | runs | held | failed | not decidable |"
    yield "|---|---|---|---|---|"
    for outcome in outcomes:
        found = Counter(verdict.word for verdict in outcome.verdicts)
        runs = f"{len(outcome.jobs) - len(outcome.missing)} of {len(outcome.jobs)}"
        name = outcome.study.name
        yield f"| [{name}](#{name}) | {runs} | {found[HELD]} | {found[FAILED]} | {found[OPEN]} |"
    yield ""
    yield "More than chance, of all that was measured:"
    yield ""
    for outcome in outcomes:
        yield from _differs(outcome)
    for outcome in outcomes:
        yield ""
        yield from _section(outcome)


def _differs(outcome: Outcome) -> Iterator[str]:
    """In what the subject differs from the reference, in a line."""
    study, group = outcome.study, outcome.groups.get(outcome.study.subject)
    if group is None or group is outcome.comparison.reference:
        return
    comparison = outcome.comparison
    found = [
        f"{test.figure} {test.word(comparison.better(test.figure))}, {cell(group.figures(test.figure))} for "
        f"{cell(comparison.reference.figures(test.figure))}"
        for test in comparison.tests(group)
        if test.significant
    ]
    yield f"- {study.name}, `{group.name}` beside `{comparison.reference.name}`: {'; '.join(found) or 'nothing'}."


def _section(outcome: Outcome) -> Iterator[str]:
    study = outcome.study
    yield f"## {study.name}"
    yield ""
    yield f"**{_line(study.file.question)}**"
    yield ""
    seeds = ", ".join(map(str, study.file.seeds))
    yield f"Seeds {seeds}; `{study.recipe.name}`, `{study.path.name}`. {_line(study.file.note)}".rstrip()
    if outcome.missing:
        yield ""
        names = ", ".join(job.name for job in outcome.missing)
        yield f"**Not whole:** {len(outcome.missing)} runs are missing: {names}."
    if not outcome.groups:
        return
    comparison = outcome.comparison
    yield ""
    yield "| variant | what it is | its config's hypothesis |"
    yield "|---|---|---|"
    for group in comparison.groups:
        what = study.file.variants[group.name].what
        yield f"| `{group.name}` | {_line(what) or '-'} | {_line(group.first.hypothesis) or '-'} |"
    if outcome.verdicts:
        yield ""
        yield from _expectations(outcome)
    if any(variant.said for variant in study.file.variants.values()):
        yield ""
        yield from _said(outcome)
    yield ""
    yield from _figures(outcome)
    for group in comparison.groups[1:] if len(comparison.groups) == 2 else ():
        yield ""
        yield f"`{group.name}` beside `{comparison.reference.name}`: {comparison.word(group)}."
    for group in comparison.groups:
        yield from (f"\n`{group.name}`: {_line(note)}." for note in group.notes)
    yield ""
    yield f"![the course of {study.name}](pictures/results_{study.name}.svg)"


def _expectations(outcome: Outcome) -> Iterator[str]:
    by_word: dict[str, list[Verdict]] = {FAILED: [], OPEN: [], HELD: []}
    for verdict in outcome.verdicts:
        by_word[verdict.word].append(verdict)
    yield f"Expected of it: {counts(outcome.verdicts)}."
    yield ""
    yield "| the document | here | found | verdict |"
    yield "|---|---|---|---|"
    for verdict in outcome.verdicts:
        expected = verdict.expectation
        said = _line(expected.said) or "-"
        scaled = f" ({_line(expected.scaled)})" if expected.scaled else ""
        here = f"`{expected.of}`, {expected.figure}: {_line(expected.text)}{scaled}"
        yield f"| {said} | {here} | {_line(verdict.why)} | **{verdict.word}** |"
    for word, heading in ((FAILED, "What did not hold"), (OPEN, "What cannot be decided")):
        if by_word[word]:
            yield ""
            yield f"{heading}:"
            yield ""
        for verdict in by_word[word]:
            expected = verdict.expectation
            named = _line(expected.said) or f"{expected.figure} {expected.text}"
            yield f"- {named} (`{expected.of}`, {expected.figure}): {_line(verdict.why)}"


def _said(outcome: Outcome) -> Iterator[str]:
    """The document's own table, and the same figures here beneath each other."""
    variants = outcome.study.file.variants
    names = list(dict.fromkeys(name for variant in variants.values() for name in variant.said))
    yield "The document's own table beside ours (theirs / ours):"
    yield ""
    yield f"| variant | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for variant in variants:
        group = outcome.groups.get(variant)
        cells = [
            f"{variants[variant].said.get(name, '-')} / {cell(group.figures(name)) if group else '-'}" for name in names
        ]
        yield f"| `{variant}` | {' | '.join(map(_line, cells))} |"


def _figures(outcome: Outcome) -> Iterator[str]:
    """Every figure of every variant, mean and standard deviation over the seeds, and what is more than chance."""
    comparison = outcome.comparison
    tests = {group.name: {test.figure: test for test in comparison.tests(group)} for group in comparison.groups[1:]}
    shown = [name for name in [*comparison.figures, *comparison.others]
             if any(not math.isnan(value) for group in comparison.groups for value in group.figures(name))]  # fmt: skip
    named = [f"`{group.name}`" for group in comparison.groups]
    if len(comparison.groups) == 2:  # few columns: what is to be said of each has room
        yield f"| figure | {' | '.join(named)} | beside `{comparison.reference.name}` |"
        yield "|---|---|---|---|"
        group = comparison.groups[1]
        for name in shown:
            test = tests[group.name].get(name)
            said = test.word(comparison.better(name)) if test else "not tested"
            cells = [cell(each.figures(name)) for each in comparison.groups]
            yield f"| {name} | {' | '.join(cells)} | {said} |"
        return
    asked = [*map(full, outcome.study.figures), "val_loss_std", "largest_jump", "findings", "seconds"]
    columns = [name for name in shown if name in asked or name.startswith("best ")]
    yield f"| variant | changed | {' | '.join(columns)} |"
    yield "|---|---|" + "---|" * len(columns)
    above = comparison.reference
    for group in comparison.groups:
        step = Comparison([above, group], outcome.study.figures)
        from_above = {test.figure: test for test in step.tests(group)} if group is not above else {}
        marks = [_marks(tests.get(group.name, {}).get(name), from_above.get(name)) for name in columns]
        cells = [f"{cell(group.figures(name))}{mark}" for name, mark in zip(columns, marks)]
        changed = ", ".join(config_difference.things(step.changes(group))) or "-"
        yield f"| `{group.name}` | {changed} | {' | '.join(cells)} |"
        above = group
    yield ""
    yield (
        f"Changed: beside the line above. \\*: differs from `{comparison.reference.name}` by more than chance; ‡: so "
        "from the line above; †: another loss than that, on another scale."
    )


def _marks(reference: Test | None, above: Test | None) -> str:
    """What a figure of a line is marked with, held against the reference's and that of the line above."""
    marks = "\\*" if reference is not None and reference.significant else ""
    marks += "‡" if above is not None and above.significant else ""
    other_scale = above is not None and above.why_not == OTHER_SCALE
    return f" {marks}{'†' if other_scale else ''}".rstrip()


def _line(text: str) -> str:
    """Text on one line that a table of Markdown takes."""
    return " ".join(text.split()).replace("|", "\\|")

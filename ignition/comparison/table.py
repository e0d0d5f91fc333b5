"""A comparison as tables and curves for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from ignition import curve
from ignition.comparison import config_difference
from ignition.comparison.comparison import Comparison
from ignition.comparison.figures import OWN
from ignition.comparison.groups import Group

WIDEST = 60  # characters of a setting's value


def number(value: float) -> str:
    """A number for a table.

    >>> number(0.123456), number(12345.6), number(float("nan"))
    ('0.1235', '12346', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 10000 and math.isfinite(value) else f"{value:.4g}"


def cell(values: list[float]) -> str:
    """The mean of some seeds and their spread (standard deviation); what is missing says so.

    >>> cell([1.0, 2.0, 3.0]), cell([2.0]), cell([1.0, float("nan")])
    ('2 ± 1', '2', '1 (1 of 2)')
    """
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return "-"
    text = number(statistics.fmean(there))
    if len(there) > 1 and all(map(math.isfinite, there)):
        text += f" ± {statistics.stdev(there):.2g}"
    return text if len(there) == len(values) else f"{text} ({len(there)} of {len(values)})"


def report(comparison: Comparison, *, plain: bool = False) -> Lines:
    """Everything: who was compared, the figures, the settings, the curves.

    Args:
        plain: curves in ASCII.
    """
    parts: list[Table | Text] = [groups_table(comparison), figures_table(comparison)]
    others = others_table(comparison)
    if others is not None:
        parts.append(others)
    settings = settings_table(comparison)
    if settings is not None:
        parts.append(settings)
    parts += [Text(line) for line in words(comparison)]
    parts.append(Text("\n".join(curves(comparison, plain=plain))))
    return Lines(*parts)


def groups_table(comparison: Comparison) -> Table:
    """Who was compared: seeds, how the runs ended, and what they were to show."""
    table = Table(header_style="bold")
    for column in ("group", "seeds", "runs", "ended", "hypothesis"):
        table.add_column(column)
    for group in comparison.groups:
        seeds = ", ".join(str(run.seed) for run in group.runs)
        ends = dict.fromkeys(f"{run.status}: {run.reason}" if run.reason else run.status for run in group.runs)
        paths = "\n".join(run.name for run in group.runs)
        table.add_row(group.name, seeds, paths, "\n".join(ends), group.first.hypothesis)
    return table


def figures_table(comparison: Comparison) -> Table:
    """The figures of every group, and what can be said of them beside the reference."""
    table = Table(header_style="bold")
    table.add_column("figure")
    for group in comparison.groups:
        table.add_column(group.name, justify="right")
        if group is not comparison.reference:
            table.add_column(f"beside {comparison.reference.name}")
    said = {id(group): comparison.tests(group) for group in comparison.groups[1:]}
    for place, name in enumerate(comparison.figures):
        row = [name]
        for group in comparison.groups:
            row.append(cell(group.figures(name)))
            if group is not comparison.reference:
                row.append(said[id(group)][place].word(comparison.better(name)))
        if any(text != "-" for text in row[1:2]) or any(cell(g.figures(name)) != "-" for g in comparison.groups):
            table.add_row(*row)
    return table


def others_table(comparison: Comparison) -> Table | None:
    """Last values of the other validation metrics, beside the trivial predictor's; not tested."""
    if not comparison.others:
        return None
    table = Table(header_style="bold")
    table.add_column("last value, not tested")
    table.add_column("trivial", justify="right")
    for group in comparison.groups:
        table.add_column(group.name, justify="right")
    for name in comparison.others:
        trivial = comparison.reference.figures(name.replace("val/", "baseline/", 1))
        table.add_row(name, cell(trivial), *(cell(group.figures(name)) for group in comparison.groups))
    return table


def settings_table(comparison: Comparison) -> Table | None:
    """The settings in which the configs differ, key by key."""
    if not comparison.settings:
        return None
    table = Table(header_style="bold")
    for column in ("setting", *(group.name for group in comparison.groups)):
        table.add_column(column)
    for setting in comparison.settings:
        table.add_row(setting.key, *(_short(value) for value in setting.values))
    return table


def words(comparison: Comparison) -> Iterator[str]:
    """What is to be said in sentences: how many things were changed, what is odd, what the figures mean."""
    for group in comparison.groups[1:]:
        yield f"{group.name} beside {comparison.reference.name}: {comparison.word(group)}"
    if len(comparison.groups) == 1:
        group = comparison.reference
        seeds = len(group.runs)
        yield (f"one config under {seeds} seeds: what differs is chance" if seeds > 1
               else f"{group.name}: one config under one seed")  # fmt: skip
    for group in comparison.groups:
        yield from group.notes
    if any(len(group.runs) > 1 for group in comparison.groups):
        yield "± is the standard deviation over seeds"
    if any(test.why_not == "one seed" for group in comparison.groups[1:] for test in comparison.tests(group)):
        yield "one seed: tells nothing about chance, so nothing is called better or worse"
    if any(test.found for group in comparison.groups[1:] for test in comparison.tests(group)):
        yield (
            "sd: the difference in standard deviations over seeds (Hedges' g). p is Welch's, held against all figures "
            "tested at once (Holm): below 0.05 counts as more than chance. It takes the seeds' values for roughly "
            "normal; with so few nothing can be called without that"
        )
    loss = [name for name in comparison.figures if name in OWN and OWN[name].of_loss]
    if any(config_difference.things(comparison.changes(group)) and _other_loss(comparison, group)
           for group in comparison.groups[1:]):  # fmt: skip
        yield f"the losses differ, so val/loss and what is made of it ({', '.join(loss)}) are on several scales"


def curves(comparison: Comparison, *, plain: bool = False, width: int = 72) -> Iterator[str]:
    """The metric that chooses the best epoch over the run, mean over seeds, a curve a group, all on one scale."""
    name = comparison.reference.first.metric
    series = {group.name: mean_curve(group, name) for group in comparison.groups}
    finite = [value for values in series.values() for _, value in values if math.isfinite(value)]
    for group, points in series.items():
        if len(points) < 2 or not finite:
            continue
        yield ""
        yield f"{name}, {group}"
        ends = (f"epoch {points[0][0]:g}", f"{points[-1][0]:g}")
        yield from curve.draw([value for _, value in points], width=width, height=7, low=min(finite), high=max(finite),
                              ticks=ends, plain=plain)  # fmt: skip


def mean_curve(group: Group, name: str) -> list[tuple[float, float]]:
    """Epoch and mean over the seeds of a metric, at each epoch that all of them have."""
    by_epoch: dict[float, list[float]] = {}
    for run in group.runs:
        for point in run.series.get(name, []):
            by_epoch.setdefault(point.epoch, []).append(point.value)
    return [(epoch, statistics.fmean(values)) for epoch, values in sorted(by_epoch.items())
            if len(values) == len(group.runs)]  # fmt: skip


def _other_loss(comparison: Comparison, group: Group) -> bool:
    return any(setting.key.split(".")[0] == "loss" for setting in comparison.changes(group))


def _short(value: object) -> str:
    if isinstance(value, Mapping):  # of a section that others do not have: what it sets
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items() if item not in (None, False))
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."

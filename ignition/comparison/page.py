"""A comparison as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ignition.comparison.chart import Line, chart
from ignition.comparison.comparison import Comparison
from ignition.comparison.table import (
    figures_table,
    groups_table,
    mean_curve,
    others_table,
    settings_table,
    words,
)

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .7em; border: 1px solid #ddd; text-align:
left; vertical-align: top; white-space: pre-line } th { background: #f5f5f5 } svg { margin: .5em; max-width: 100% }
"""


def page(comparison: Comparison) -> str:
    """The page as text."""
    title = f"{len(comparison.runs)} runs of {comparison.reference.first.task or 'a recipe'} compared"
    tables = [groups_table(comparison), figures_table(comparison), others_table(comparison), settings_table(comparison)]
    body = [f"<h1>{escape(title)}</h1>", *(as_html(table) for table in tables if table is not None)]
    body += [f"<p>{escape(line)}</p>" for line in words(comparison)]
    body += charts(comparison)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def charts(comparison: Comparison) -> Iterator[str]:
    """Curves of the metric that chooses the best epoch and of both losses: seeds thin, their mean thick."""
    chosen = comparison.reference.first.metric
    for name in dict.fromkeys([chosen, "val/loss", "train/epoch_avg_loss"]):
        lines = curves_of(comparison, name)
        if any(line.points for line in lines):
            yield chart(name, lines)


def curves_of(comparison: Comparison, name: str) -> list[Line]:
    """A line for each run of each group, and one for its mean."""
    lines = []
    for colour, group in enumerate(comparison.groups):
        for run in group.runs if len(group.runs) > 1 else ():
            points = [(point.epoch, point.value) for point in run.series.get(name, [])]
            lines.append(Line(group.name, points, colour, thin=True))
        lines.append(Line(group.name, mean_curve(group, name), colour))
    return lines


def as_html(table: object) -> str:
    """A rich table as an HTML one."""
    columns = table.columns  # type: ignore[attr-defined]
    heads = "".join(f"<th>{escape(str(column.header))}</th>" for column in columns)
    rows = zip(*(list(column.cells) for column in columns))
    lines = "\n".join("<tr>" + "".join(f"<td>{escape(str(text))}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{heads}</tr>\n{lines}</table>"

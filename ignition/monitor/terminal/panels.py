"""Charts beside each other, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from ignition.monitor.curves import Curves
from ignition.monitor.run import Run
from ignition.monitor.state import State
from ignition.monitor.terminal.chart import Axes, Chart, Series
from ignition.monitor.words import clean, figure

SEVERITY_STYLES = {"critical": "red", "warning": "yellow", "info": "blue"}
TRAIN, VAL = "cyan", "magenta"
HEIGHT = 6  # lines of a curve


class Panels:
    """The curves of a page.

    Args:
        width: columns of the terminal.
        plain: without signs that are no ASCII.
        ranges: whether the span of values that fall into one column is shown, faintly.
    """

    def __init__(self, width: int, *, plain: bool, ranges: bool):
        self.width, self.plain, self.ranges = width, plain, ranges

    def of(self, runs: Sequence[Run], names: Sequence[str]) -> Iterator[Text]:
        """Frames beside each other: of one run its curves, of several one curve of each, over the same axes."""
        across = 1 if self.width < 66 else 2 if self.width < 110 else 3 if self.width < 165 else 4
        several = len(runs) > 1
        names = names[: 4 if several else 3 if across == 1 else 2 * across]
        across = min(across, len(runs) if several else max(len(names), 1))
        rows: list[list[tuple[str, Run]]] = []
        if several:
            for name in names:
                rows += _parts([(name, run) for run in runs], across)
        else:
            rows = _parts([(name, runs[0]) for name in names], across)
        width = (self.width - 2 * (across - 1)) // across
        right = max((run.curves.last_iteration for run in runs), default=1)
        shared = {
            name: Axes.around([each for run in runs for each in series_of(run.curves, name)], right) for name in names
        }
        for row in rows:
            drawn = [self._frame(name, run, shared[name], width, several) for name, run in row]
            for parts in zip(*drawn):
                line = Text()
                for number, part in enumerate(parts):
                    line.append("  " if number else "")
                    line.append_text(part)
                yield line
            yield Text()

    def _frame(self, name: str, run: Run, axes: Axes, width: int, several: bool) -> list[Text]:
        series = series_of(run.curves, name)
        chart = Chart(width, HEIGHT, axes, plain=self.plain, ranges=self.ranges)
        for each in series:
            chart.draw(each)
        for severity in ("info", "warning", "critical"):
            for incident in run.findings:
                if incident.severity == severity and incident.name != "recovered":
                    chart.mark(incident.first, SEVERITY_STYLES[severity])
        title = Text.assemble((f"{clean(run.name, width // 2)}  " if several else "", "dim"))
        title.append(clean(name, width), "bold")
        for number, each in enumerate(series):
            if each.points:
                sign = "" if not each.dots or len(series) == 1 else " o" if self.plain else " ●"
                label = "" if len(series) == 1 else " train" if number == 0 else " val"
                title.append(f"{sign}{label} {figure(each.points[-1].mean)}", f"{each.style}")
        if not any(each.points for each in series):
            title.append("  no values", "dim")
        title.truncate(width, overflow="crop", pad=True)
        return [title, *chart.lines()]


def _parts(frames: list[tuple[str, Run]], count: int) -> list[list[tuple[str, Run]]]:
    return [frames[begin : begin + count] for begin in range(0, len(frames), count)]


def panels_of(curves: Curves, state: State) -> list[str]:
    """The curves worth a look, the most telling first."""
    names = curves.names()
    first = ["loss"] if "train/batch_loss" in curves or "val/loss" in curves else []
    metric = [state.metric] if state.metric and state.metric != "val/loss" and state.metric in curves else []
    usual = [name for name in ("train/gradient_norm", "train/learning_rate") if name in curves]
    terms = [name for name in names if name.startswith("train/loss/")]
    val = [name for name in names if name.startswith("val/") and name.count("/") == 1 and name != "val/loss"]
    rest = [name for name in names if not name.startswith(("train/", "val/", "baseline/"))]
    chosen = dict.fromkeys([*first, *metric, *usual, *val, *terms, *rest])
    if not chosen:
        chosen = dict.fromkeys(names)
    return list(chosen)


def series_of(curves: Curves, name: str) -> list[Series]:
    """What is drawn in the frame of that name: of ``loss`` that of batches, and of evaluations."""
    if name == "loss":
        return [Series(curves.points("train/batch_loss"), TRAIN), Series(curves.points("val/loss"), VAL, dots=True)]
    points = curves.points(name)
    few = name.startswith("val/") and len(points) <= 100
    return [Series(points, VAL if name.startswith("val/") else TRAIN, dots=few)]

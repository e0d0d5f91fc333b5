"""What a terminal shows of runs: first how one ended or how far it is, then what went wrong, then the curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from ignition.monitor.grouped import Group, counted, grouped
from ignition.monitor.run import Run
from ignition.monitor.state import State
from ignition.monitor.terminal.panels import HEIGHT, SEVERITY_STYLES, Panels, panels_of
from ignition.monitor.words import clean, duration, figure, size
from ignition.stability import Advice

STATUS_STYLES = {
    "running": "cyan", "log": "cyan", "waiting": "dim", "finished": "green", "stopped": "green",
    "silent": "yellow", "preempted": "yellow", "dead": "red", "failed": "red", "diverged": "red",
}  # fmt: skip
SIGNS = {"critical": ("✖", "!!"), "warning": ("▲", "! "), "info": ("·", "- ")}


class Page:
    """Draws runs as lines.

    Args:
        width: of a line.
        plain: ASCII characters only.
        faint: whether faint and bright can be told apart: then curves show the range of their values behind the mean.
        height: of the terminal, for a page that is looked at live: then what matters most comes within it; None: all
            of everything, in its order.
    """

    def __init__(self, width: int = 80, *, plain: bool = False, faint: bool = True, height: int | None = None):
        self.width, self.plain, self.faint, self.height = max(width, 20), plain, faint, height
        self._panels = Panels(self.width, plain=plain, ranges=faint)
        self._console = Console(width=self.width, color_system=None)  # knows how lines are broken

    def of(self, runs: Sequence[Run]) -> list[Text]:
        """The whole page: of one run, or of several side by side."""
        lines = list(self._one(runs[0])) if len(runs) == 1 else list(self._several(runs))
        for line in lines:
            line.truncate(self.width, overflow="ellipsis" if not self.plain else "crop")
            line.rstrip()
        return lines

    # ------------------------------------------------------------------------------------------------- one run

    def _one(self, run: Run) -> Iterator[Text]:
        groups = grouped(run.findings)
        head = [*self._head(run), *self._numbers(run.state), self._count(groups), *self._problems(run), Text()]
        yield from head
        serious = [group for group in groups if group.severity != "info"]
        minor = [group for group in groups if group.severity == "info"]
        first = self._room(serious, len(head))
        for group in serious[:first]:
            yield from self._finding(group)
        if serious[:first]:
            yield Text()
        yield from self._panels.of([run], panels_of(run.curves, run.state))
        for group in [*serious[first:], *minor]:
            yield from self._finding(group)
        yield from self._review(run)

    def _room(self, groups: list[Group], above: int) -> int:
        """How many findings stand before the curves."""
        if self.height is None:
            return len(groups)
        left = self.height - above - (HEIGHT + 5)
        for number, group in enumerate(groups):
            left -= len(list(self._finding(group)))
            if left < 0:
                return max(number, 1)
        return len(groups)

    def _head(self, run: Run) -> Iterator[Text]:
        state = run.state
        line = Text.assemble((clean(run.name, 200), "bold"))
        line.append("  ")
        line.append(state.status, f"{STATUS_STYLES.get(state.status, '')}")
        yield line
        if state.reason:
            yield from self._wrapped(clean(state.reason), "", STATUS_STYLES.get(state.status, ""))
        yield self._bar(state)

    def _bar(self, state: State) -> Text:
        """How far it is: a bar, and words."""
        words = []
        if state.epoch is not None:
            words.append(f"epoch {state.epoch}" + (f"/{state.epochs}" if state.epochs else ""))
        if state.iteration is not None:
            words.append(f"iteration {state.iteration}" + (f"/{state.iterations}" if state.iterations else ""))
        if state.seconds_left is not None and state.seconds_left > 0:
            words.append(f"{duration(state.seconds_left)} left")
        elif state.seconds and not state.alive:
            words.append(f"took {duration(state.seconds)}")
        text = self._dot().join(words) or "no row yet"
        line = Text()
        share, room = state.share, min(self.width - len(text) - 2, 40)
        if share is not None and room >= 8:
            full, empty = ("#", ".") if self.plain else ("━", "─")
            done = int(share * room)
            line.append(full * done, STATUS_STYLES.get(state.status, ""))
            line.append(empty * (room - done) + "  ", "dim")
        line.append(text)
        return line

    def _numbers(self, state: State) -> Iterator[Text]:
        rows: list[tuple[str, list[str]]] = []
        if state.metric and state.metric != "val/loss" and (state.best is not None or state.last is not None):
            when = f" (iteration {state.best_iteration})" if state.best_iteration is not None else ""
            words = [f"best {figure(state.best)}{when}", f"last {figure(state.last)}"]
            words += [f"trivial {figure(state.trivial)}"] if state.trivial is not None else []
            rows.append((clean(state.metric, 24), words))
        losses = [f"train {figure(state.loss)}"] if state.loss is not None else []
        losses += [f"val {figure(state.val_loss)}"] if state.val_loss is not None else []
        losses += [f"gap {state.gap:+.3g}"] if state.gap is not None else []
        if state.metric == "val/loss" and state.best is not None:
            losses.append(f"best {figure(state.best)}")
        rows.append(("loss", losses))
        speed = [f"learning rate {figure(state.learning_rate)}"] if state.learning_rate is not None else []
        if state.steps_per_second is not None:
            speed.append(f"{state.steps_per_second:.3g} steps/s")
        if state.silent_seconds is not None:
            speed.append(f"{'last row' if state.alive else 'ended'} {duration(state.silent_seconds)} ago")
        rows.append(("speed", speed))
        saved = [clean(state.checkpoint).rpartition("/")[2]] if state.checkpoint else []
        saved += [f"{size(state.disk_left)} left on disk"] if state.disk_left is not None else []
        rows.append(("saved", saved))
        margin = max(len(name) for name, _ in rows) + 2
        for name, words in rows:
            if words:
                yield from self._wrapped(self._dot().join(words), f"{name:<{margin}}", "", "dim")
        if state.read < 1:
            yield Text(f"a picture of part of the log: {state.read:.0%} of it is read so far", style="yellow")

    def _count(self, groups: list[Group]) -> Text:
        counts = counted(groups)
        line = Text.assemble(("findings  ", "dim"))
        told = [(severity, count) for severity, count in counts.items() if count]
        for number, (severity, count) in enumerate(told):
            name = {"critical": "critical", "warning": "warning", "info": "note"}[severity]
            plural = "s" if count > 1 and severity != "critical" else ""
            line.append(self._dot() if number else "")
            line.append(f"{count} {name}{plural}", f"{SEVERITY_STYLES[severity]}")
        if not told:
            line.append("none", "green")
        return line

    def _finding(self, group: Group) -> Iterator[Text]:
        newest, severity = group.newest, group.severity
        style, sign = SEVERITY_STYLES[severity], SIGNS[severity][self.plain]
        line = Text.assemble((f"{sign} ", style))
        line.append(clean(newest.name, 60), f"bold {style}")
        when = f"  iteration {newest.first}"
        if len(group.incidents) > 1:
            when = f"  {len(group.incidents)} times, iterations {group.incidents[0].first} to {newest.iteration}"
        if group.ended is not None:
            when += f", over by {group.ended}"
        line.append(when, "dim")
        yield line
        yield from self._wrapped(clean(newest.message), "  ")
        for done in group.done[-2:]:
            yield from self._wrapped(clean(done), "  done  ", "", "dim")
        if severity == "info":
            return
        yield from self._advice(newest.advice)

    def _advice(self, advice: Sequence[Advice]) -> Iterator[Text]:
        for each in advice[: 2 if self.height is None else 1]:
            if each.override:
                yield from self._wrapped(clean(each.override), "  try   ", "bold", "dim")
                if self.height is None:
                    yield from self._wrapped(clean(each.why), "        ", "dim")
            elif each.why:
                yield from self._wrapped(clean(each.why), "  try   ", "", "dim")

    def _problems(self, run: Run) -> Iterator[Text]:
        for problem in run.problems:
            yield from self._wrapped(clean(problem), "unread    ", "yellow", "dim")
        for note in run.notes:
            yield from self._wrapped(clean(note), "note      ", "", "dim")

    def _review(self, run: Run) -> Iterator[Text]:
        if not run.objections:
            return
        yield Text()
        yield Text(f"config review: {len(run.objections)}", style="bold")
        for objection in run.objections:
            line = Text.assemble((f"{SIGNS['warning'][self.plain]} ", "yellow"))
            line.append(clean(objection.key, 60), "bold yellow")
            yield line
            yield from self._wrapped(clean(objection.message), "  ")
            yield from self._wrapped(clean(objection.because), "  ")
            yield from self._advice(objection.advice)

    # ---------------------------------------------------------------------------------------------- several runs

    def _several(self, runs: Sequence[Run]) -> Iterator[Text]:
        yield from self._table(runs)
        yield Text()
        names: dict[str, None] = {}
        for run in runs:
            names |= dict.fromkeys(panels_of(run.curves, run.state))
        yield from self._panels.of(runs, list(names))
        for run in runs:
            groups = grouped(run.findings)
            if not (groups or run.objections or run.problems or run.state.reason):
                continue
            line = Text.assemble((clean(run.name, 200), "bold"))
            line.append("  ")
            line.append(run.state.status, f"{STATUS_STYLES.get(run.state.status, '')}")
            yield line
            if run.state.reason:
                yield from self._wrapped(clean(run.state.reason), "  ")
            yield from self._problems(run)
            for group in groups:
                yield from self._finding(group)
            yield from self._review(run)
            yield Text()

    def _table(self, runs: Sequence[Run]) -> Iterator[Text]:
        """A line a run, with as many columns as there is room for, the most telling first."""
        states = [run.state for run in runs]
        counts = [counted(grouped(run.findings)) for run in runs]
        columns = [
            ("run", [clean(run.name, max(self.width // 3, 12)) for run in runs]),
            ("status", [state.status for state in states]),
            ("best", [figure(state.best) for state in states]),
            ("findings", [f"{count['critical']}/{count['warning']}/{count['info']}" for count in counts]),
            ("epoch", [f"{figure(state.epoch)}/{figure(state.epochs)}" for state in states]),
            ("last", [figure(state.last) for state in states]),
            ("val loss", [figure(state.val_loss) for state in states]),
            ("gap", [f"{state.gap:+.3g}" if state.gap is not None else "-" for state in states]),
            ("train loss", [figure(state.loss) for state in states]),
            ("left", [duration(state.seconds_left) for state in states]),
            ("steps/s", [figure(state.steps_per_second) for state in states]),
            ("learning rate", [figure(state.learning_rate) for state in states]),
            ("last row", [duration(state.silent_seconds) for state in states]),
        ]
        widths = [max(map(len, [name, *cells])) for name, cells in columns]
        used, shown = 0, 0
        while shown < len(columns) and used + widths[shown] <= self.width:
            used, shown = used + widths[shown] + 2, shown + 1
        metrics = dict.fromkeys(state.metric for state in states if state.metric)
        if metrics:
            metric = clean(", ".join(metrics), self.width)
            yield Text(f"best and last of {metric}; findings critical/warning/note", "dim")
        header = [f"{name:<{width}}" for (name, _), width in zip(columns, widths)]
        yield Text("  ".join(header[:shown]), style="bold")
        for number, state in enumerate(states):
            line = Text()
            for (name, cells), width in list(zip(columns, widths))[:shown]:
                style = STATUS_STYLES.get(state.status, "") if name == "status" else ""
                line.append(f"{cells[number]:<{width}}  ", style)
            yield line

    # --------------------------------------------------------------------------------------------------- lines

    def _wrapped(self, words: str, margin: str, style: str = "", margin_style: str = "") -> Iterator[Text]:
        """Words after a margin; what does not fit goes on below them."""
        room = max(self.width - len(margin), 10)
        for number, part in enumerate(Text(words, style=style).wrap(self._console, room)):
            line = Text.assemble((margin if number == 0 else " " * len(margin), margin_style))
            line.append_text(part)
            yield line

    def _dot(self) -> str:
        return ", " if self.plain else " · "

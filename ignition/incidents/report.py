"""What came of a replay, for a person at a terminal."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ignition.incidents.replayed import Comparison, Replayed
from ignition.incidents.trial import Trial
from ignition.incidents.verdict import RULE

STEPS = 8  # of the losses, at each end
SAMPLES = 8
LAYERS = 15
VERDICTS = {
    "batch": "the batch",
    "state": "the state of the run",
    "both": "both the batch and the state of the run",
    "sample": "",
    "neither": "neither batch nor state",
}


def print_report(run: Path, bundle: str, number: int | None, done: Replayed, console: Console | None = None) -> None:
    """Print all of it: what was run again, what was tried, and the verdict last, where it is seen."""
    console = console or Console()

    def say(text: str = "") -> None:
        console.print(text, highlight=False, markup=False)

    incident = done.incident
    say(f"{run}")
    say(f"incident {f'{number}, ' if number else ''}{bundle}: {incident['message']}")
    say()
    _print_steps(console, done)
    say(_agreement(done))
    for note in done.notes:
        say(f"note: {note}")
    say()
    say(f"Tried with the loss weights, rates and random numbers of iteration {incident['first']}. {RULE}")
    say()
    console.print(_tests(done))
    say()
    if done.verdict.guilty in ("batch", "sample", "both"):
        _print_samples(console, done)
        say()
    _print_layers(console, done)
    say()
    verdict = done.verdict
    guilty = VERDICTS[verdict.guilty]
    if verdict.samples:
        guilty = f"sample{'s' * (len(verdict.samples) > 1)} {', '.join(map(str, verdict.samples))} of the batch"
    console.print(f"verdict: {guilty}", style="bold", highlight=False)
    say(f"{verdict.reason[0].upper()}{verdict.reason[1:]}.")


def _print_steps(console: Console, done: Replayed) -> None:
    before, steps = done.incident["before"], done.steps
    source = f"a {before['from']} of iteration {before['iteration']}" if before["iteration"] else "the run's beginning"
    several = f"s {steps[0].iteration} to {steps[-1].iteration}" if len(steps) > 1 else f" {steps[0].iteration}"
    console.print(f"run again from {source}: iteration{several}", highlight=False)
    table = _table("iteration", "loss", "logged", "gradient norm", "logged ", "weights moved by")
    shown = steps if len(steps) <= 2 * STEPS else [*steps[:STEPS], None, *steps[-STEPS:]]
    for step in shown:
        if step is None:
            table.add_row(*["..."] * 6)
            continue
        moved = f"{100 * step.moved:.3g} %" if step.moved else "-"
        numbers = (step.loss, step.logged, step.gradient_norm, step.logged_norm)
        table.add_row(str(step.iteration), *map(_number, numbers), moved)
    console.print(table)


def _agreement(done: Replayed) -> str:
    compared = [step for step in done.steps if step.identical is not None]
    if not compared:
        return "the log has none of these iterations"
    if done.identical:
        several = f"all {len(compared)} losses are" if len(compared) > 1 else "the loss is"
        missing = len(done.steps) - len(compared)
        lacking = f" ({missing} not in the log)" if missing else ""
        return f"{several} the logged one{'s' if len(compared) > 1 else ''}, bit for bit{lacking}"
    first = next(step for step in compared if not step.identical)
    share = f"by {100 * done.difference:.2g} % at most" if math.isfinite(done.difference) else "not all are finite"
    same = f"{sum(bool(step.identical) for step in compared)} of {len(compared)} losses are the logged ones"
    return f"{same}; from iteration {first.iteration} on they differ, {share}"


def _tests(done: Replayed) -> Table:
    """Batches down, states across."""
    tests = done.tests if len(done.tests) < 3 or done.tests[1].iteration != done.tests[2].iteration else done.tests[:2]
    if tests[0].iteration == tests[1].iteration:
        tests = [tests[1], *tests[2:]]
    titles = [f"state of iteration {test.iteration}" for test in tests]
    table = _table("loss / gradient norm", *titles, left=1)
    table.add_row(
        "the batch" if len(done.batches) == 1 else "its batches", *(_tried(test, test.guilty) for test in tests)
    )
    for places in tests[0].others:
        name = f"batch {places[0] + 1} of the epoch" if len(places) == 1 else (
            f"batches {places[0] + 1} to {places[-1] + 1}"
        )  # fmt: skip
        table.add_row(name, *(_tried(test, test.others[places]) for test in tests))
    limits = [f"{_number(test.limits.loss)} / {_number(test.limits.gradient_norm)}" for test in tests]
    table.add_row("bad above", *limits)
    return table


def _tried(test: Comparison, trial: Trial) -> str:
    bad = " BAD" if test.why_bad(trial) else ""
    return f"{_number(trial.loss)} / {_number(trial.gradient_norm)}{bad}"


def _print_samples(console: Console, done: Replayed) -> None:
    ranked = sorted(done.samples, key=lambda sample: _badness(done.samples[sample]), reverse=True)
    alone = [sample for sample in ranked if done.samples[sample] is not None]
    say = f"the {len(ranked)} samples of the batch, each alone, in the state of iteration {done.samples_in}"
    if not alone:
        console.print(f"{say}: none can be run alone (a batch norm needs several)", highlight=False)
        _print_without(console, done)
        return
    console.print(say + (f" (the worst {SAMPLES})" if len(alone) > SAMPLES else ""), highlight=False)
    names = list(next(trial for trial in done.samples.values() if trial is not None).terms)
    names = names if len(names) > 1 else []
    table = _table("sample", "loss", *names[:4], "gradient norm", "")
    for sample in alone[:SAMPLES]:
        trial = done.samples[sample]
        assert trial is not None
        numbers = (trial.loss, *(trial.terms[name] for name in names[:4]), trial.gradient_norm)
        table.add_row(str(sample), *map(_number, numbers), "BAD" if sample in done.bad_samples else "")
    console.print(table)
    _print_without(console, done)


def _print_without(console: Console, done: Replayed) -> None:
    if done.without is None:
        return
    told = f"loss {_number(done.without.loss)}, gradient norm {_number(done.without.gradient_norm)}"
    console.print(f"the batch without {', '.join(map(str, done.bad_samples))}: {told}", highlight=False)


def _badness(trial: Trial | None) -> tuple[bool, float]:
    if trial is None:
        return False, -math.inf
    return not trial.finite, trial.loss if math.isfinite(trial.loss) else math.inf


def _print_layers(console: Console, done: Replayed) -> None:
    layers = done.layers
    bad = sum(not math.isfinite(layer.get("gradient", 0.0)) for layer in layers)
    order = f"{bad} gradients are not finite" if bad else "the largest gradient first"
    count = f"{LAYERS} of {len(layers)}, " if len(layers) > LAYERS else ""
    console.print(f"norms of the parameters in that step ({count}{order})", highlight=False)
    table = _table("parameter", "weight", "gradient", "update", left=1)
    for layer in layers[:LAYERS]:
        table.add_row(layer["parameter"], *(_number(layer.get(name)) for name in ("weight", "gradient", "update")))
    console.print(table)
    if layers and not any("update" in layer for layer in layers):
        console.print("(no update: a step that is not finite is left out)", highlight=False)


def _table(*columns: str, left: int = 0) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"

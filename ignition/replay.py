"""The command that runs an incident again: ``python -m ignition.replay runs/depth/depth-001 1``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignition.command_line import guarded, parse

if TYPE_CHECKING:
    from ignition.incidents.replayed import Replayed
    from ignition.rundir import Bundle, RunFolder


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.replay",
        description="List the incidents of a run, or run one of them again from the state before it, and say whether "
        "the batch or the state was guilty. Nothing is written into the run, which may still be going on.",
        epilog="Settings are overrides, for instance data.train.root=FOLDER or trainer.device=cpu. How many incidents "
        "leave a bundle to be run again: stability.bundles.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "incident",
        nargs="?",
        metavar="INCIDENT",
        help="its number in the list, its iteration, or its bundle's folder; without one, the list",
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="overrides of the run's config")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Replay. Returns the exit code: 0, 1 failed, 2 bad usage."""
    arguments = parse(parser(), sys.argv[1:] if argv is None else argv, example="trainer.device=cpu")
    if arguments.incident is not None and "=" in arguments.incident:
        arguments.settings.insert(0, arguments.incident)
        arguments.incident = None
    return guarded(lambda: _replay(arguments), show_traceback=arguments.traceback)


def _replay(arguments: argparse.Namespace) -> int:
    from ignition.rundir import RunFolder

    run = RunFolder.open(arguments.run)
    rows = run.incidents.read()
    if arguments.incident is None:
        _tell(listing(run, rows)) if arguments.json else _print_list(run, rows)
        return 0
    number, bundle = chosen(run, rows, arguments.incident)

    from ignition.incidents.replay import Replay  # heavy from here on

    with tempfile.TemporaryDirectory(prefix="ignition-replay-") as scratch:
        done = Replay(run, bundle, Path(scratch), arguments.settings).run()
    if arguments.json:
        _tell(described(run, bundle, number, done))
    else:
        from ignition.incidents.report import print_report

        print_report(run.path, bundle.name, number, done)
    return 0


# ------------------------------------------------------------------------------------------------ which incident


def listing(run: RunFolder, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The incidents of a run as plain values."""
    told = ("iteration", "name", "severity", "message", "first", "last")
    incidents = []
    for number, row in enumerate(rows, start=1):
        bundle = run.bundles.of(row)
        values = {name: row.get(name) for name in told}
        incidents.append({"number": number, **values, "bundle": bundle.name if bundle is not None else None})
    return {"run": str(run.path), "incidents": incidents}


def chosen(run: RunFolder, rows: list[dict[str, Any]], which: str) -> tuple[int | None, Bundle]:
    """The bundle meant by a number of the list, an iteration or a folder's name; and its number, if the list has it.

    Raises:
        RunFolderError: there is no such incident, or it has no bundle.
    """
    from ignition.rundir import RunFolderError

    numbers = {bundle.name: i for i, row in enumerate(rows, start=1) if (bundle := run.bundles.of(row)) is not None}
    name = Path(which).name
    for bundle in run.bundles:
        if name in (bundle.name, str(bundle.path)):
            return numbers.get(bundle.name), bundle
    if not which.isdigit():
        raise RunFolderError(f"{run.path}: there is no incident '{which}'. {_there(run, rows)}")
    number = int(which)
    if not 1 <= number <= len(rows):
        meant = [i for i, row in enumerate(rows, start=1) if number in (row.get("first"), row.get("iteration"))]
        meant = [i for i in meant if i in numbers.values()] or meant
        if not meant:
            raise RunFolderError(f"{run.path}: there is no incident {number}. {_there(run, rows)}")
        number = meant[0]
    row = rows[number - 1]
    found = run.bundles.of(row)
    if found is None:
        raise RunFolderError(
            f"{run.path}: incident {number} ({row.get('name')}, iteration {row.get('first')}) has no bundle: only what "
            f"is about single steps leaves one, and no more than stability.bundles of a run. {_there(run, rows)}"
        )
    return number, found


def _there(run: RunFolder, rows: list[dict[str, Any]]) -> str:
    """Which incidents can be run again."""
    with_bundle = [
        f"{i} ({row.get('name')}, iteration {row.get('first')})"
        for i, row in enumerate(rows, start=1)
        if run.bundles.of(row) is not None
    ]
    if with_bundle:
        return f"To be replayed: {', '.join(with_bundle)}"
    return f"The run has {len(rows)} incidents, and no bundle" if rows else "The run has no incidents"


# ---------------------------------------------------------------------------------------------------- what is told


def _print_list(run: RunFolder, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not rows:
        console.print(f"{run.path}: no incidents", highlight=False, soft_wrap=True)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (("no.", "right"), ("iteration", "right"), ("what", "left"), ("bundle", "left")):
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("message")
    for incident in listing(run, rows)["incidents"]:
        first = incident["first"] if incident["first"] is not None else incident["iteration"]
        cells = (incident["number"], first, incident["name"], "yes" if incident["bundle"] else "", incident["message"])
        table.add_row(*map(str, cells))
    console.print(table)
    if len(run.bundles):
        console.print(f"python -m ignition.replay {run.path} NUMBER", highlight=False, soft_wrap=True)


def described(run: RunFolder, bundle: Bundle, number: int | None, done: Replayed) -> dict[str, Any]:
    """What came of a replay as plain values."""
    from ignition.incidents.verdict import RULE

    return {
        "run": str(run.path),
        "number": number,
        "bundle": bundle.name,
        "incident": dict(done.incident),
        "identical": done.identical,
        "difference": done.difference,
        "notes": done.notes,
        "steps": [{**vars(step), "identical": step.identical} for step in done.steps],
        "rule": RULE,
        "tests": [
            {
                "state": test.iteration,
                "limits": vars(test.limits),
                "batch": _trial(test.guilty, test.why_bad(test.guilty)),
                "others": [
                    {"batches": list(places), **_trial(trial, test.why_bad(trial))}
                    for places, trial in test.others.items()
                ],
            }
            for test in done.tests
        ],
        "samples_in_state": done.samples_in,
        "samples": [
            {"sample": sample, **_trial(trial, "", sample in done.bad_samples)}
            if trial is not None
            else {"sample": sample}
            for sample, trial in done.samples.items()
        ],
        "without": _trial(done.without, "") if done.without is not None else None,
        "layers": done.layers,
        "verdict": vars(done.verdict),
    }


def _trial(trial: Any, why: str, bad: bool | None = None) -> dict[str, Any]:
    values = {"loss": trial.loss, "terms": trial.terms, "gradient_norm": trial.gradient_norm, "finite": trial.finite}
    return {**values, "bad": bool(why) if bad is None else bad, **({"why": why} if why else {})}


def _tell(values: dict[str, Any]) -> None:
    from ignition.rundir.rows import to_json

    sys.stdout.write(to_json(values).decode())


if __name__ == "__main__":
    sys.exit(main())

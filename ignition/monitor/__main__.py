"""The command that looks at runs: ``python -m ignition.monitor runs/depth/depth-001 --watch``."""

from __future__ import annotations

import argparse
import os
import sys

FINISHED, FINDINGS, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.monitor",
        description="Show how runs stand, what went wrong in them and what to do about it, out of their files, whether "
        "they are dead or alive. Nothing is written into a run.",
        epilog="Keys of --watch: q quits, arrows or j and k scroll, space and b go a page on and back.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, csv, trainer_state.json or event files")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="of somebody else's log: which of its numbers is which of ours, for instance total=train/batch_loss",
    )
    parser.add_argument("--watch", action="store_true", help="keep the page up to date until q is pressed")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 where a run has findings that are more than a note"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Show. Returns the exit code: 0, 1 findings with --strict, 2 bad usage, 130 interrupted."""
    arguments = parser().parse_args(argv)
    if arguments.watch and arguments.json:
        parser().error("--watch is for people and --json for machines: one of them")
    if wrong := [pair for pair in arguments.map if not all(pair.rpartition("=")[::2])]:
        parser().error(f"--map {wrong[0]}: written THEIRS=OURS, for instance total=train/batch_loss")
    from ignition.monitor.runs import NoRun  # numpy from here on

    try:
        return _show(arguments)
    except NoRun as error:
        sys.stderr.write(f"{error}\n")
        return BAD_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINISHED


def _show(arguments: argparse.Namespace) -> int:
    from ignition.monitor.as_json import described, trouble
    from ignition.monitor.runs import open_run
    from ignition.monitor.watched import Watched

    names = {theirs: ours for theirs, _, ours in (pair.rpartition("=") for pair in arguments.map)}
    runs = [open_run(path, names) for path in arguments.runs]
    if arguments.json:
        from ignition.rundir.rows import to_json

        for run in runs:
            run.update(None)
        sys.stdout.write(to_json(described(runs)).decode())
    else:
        from rich.console import Console

        from ignition.monitor.terminal.watching import print_page, watch

        console = Console()
        if arguments.watch:
            watch(runs, console)
        else:
            for run in runs:
                run.update(None if arguments.strict else 1.0 if isinstance(run, Watched) else 10.0)
            print_page(runs, console)
    sys.stdout.flush()
    return FINDINGS if arguments.strict and any(map(trouble, runs)) else FINISHED


if __name__ == "__main__":
    sys.exit(main())

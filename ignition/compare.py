"""The command that compares runs: ``python -m ignition.compare runs/depth/depth-001 runs/depth/depth_before-001``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ignition.command_line import parse, say


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.compare",
        description="Compare runs of one recipe: figures, settings, curves. Runs of one config under several seeds are "
        "taken together, and held against those of the first config that is given.",
        epilog="A figure is a metric (val/epe: its last value), or a word and a metric ('best val/epe', 'epoch 2 "
        "val/epe'). docs/study.md has the others, and what the statistics mean.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders that have ended, two or more")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="a figure to show and test besides"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    form.add_argument("--html", metavar="FILE", help="write one page that needs nothing else")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Compare. Returns the exit code: 0, 2 bad usage."""
    arguments = parse(parser(), sys.argv[1:] if argv is None else argv)
    from ignition.comparison import ComparisonError, UnknownFigure

    try:
        return _compare(arguments)
    except (ComparisonError, UnknownFigure) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def _compare(arguments: argparse.Namespace) -> int:
    from ignition.comparison import Comparison, ComparisonError, RunSummary

    runs, problems = [], []
    for path in arguments.runs:
        try:
            runs.append(RunSummary.read(path))
        except ComparisonError as error:
            problems.append(str(error))
    if problems:
        raise ComparisonError("\n".join(problems))
    comparison = Comparison.of(runs, arguments.metric)
    if arguments.json:
        from ignition.rundir.rows import to_json

        sys.stdout.write(to_json(comparison.to_dict()).decode())
    elif arguments.html:
        from ignition.comparison.page import page

        try:
            Path(arguments.html).write_text(page(comparison), encoding="utf-8")
        except OSError as error:
            raise ComparisonError(f"{arguments.html}: cannot be written: {error.strerror}") from error
        say(f"written: {arguments.html}")
    else:
        from rich.console import Console

        from ignition import curve
        from ignition.comparison.table import report

        console = Console()
        console.print(report(comparison, plain=not curve.fits(console.encoding)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command that looks at runs: ``python -m ignition.monitor runs/depth/depth-001 --watch``."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ignition.monitor.run import Run

ANY_USUAL = -1  # port: the usual one, or the next free one
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
    parser.add_argument(
        "--serve",
        nargs="?",
        type=_port,
        const=ANY_USUAL,
        metavar="PORT",
        help="show the runs as a page in the browser that stays up to date, for this machine alone; 0: a port that is "
        "free (default: 8765, or the next free one)",
    )
    parser.add_argument("--host", help="with --serve: the address to listen at, for others as well, without a password")
    parser.add_argument("--html", metavar="FILE", help="write that page as one file that opens from disk")
    return parser


def _port(word: str) -> int:
    if not word.isdecimal() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is no port (0 to 65535); runs stand before --serve")
    return int(word)


def main(argv: list[str] | None = None) -> int:
    """Show. Returns the exit code: 0, 1 findings with --strict, 2 bad usage, 130 interrupted."""
    arguments = parser().parse_args(argv)
    ways = {"--watch": arguments.watch, "--json": arguments.json, "--serve": arguments.serve is not None}
    chosen = [name for name, value in {**ways, "--html": arguments.html is not None}.items() if value]
    if len(chosen) > 1:
        parser().error(f"{' and '.join(chosen)} are different ways to look: one of them")
    if arguments.host is not None and arguments.serve is None:
        parser().error("--host says where --serve listens: give both")
    if wrong := [pair for pair in arguments.map if not all(pair.rpartition("=")[::2])]:
        parser().error(f"--map {wrong[0]}: written THEIRS=OURS, for instance total=train/batch_loss")
    from ignition.monitor.page import NoPage  # numpy from here on
    from ignition.monitor.runs import NoRun

    try:
        return _show(arguments)
    except (NoRun, NoPage) as error:
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
    if arguments.serve is not None:
        return _serve(runs, arguments.serve, arguments.host)
    if arguments.html is not None:
        _write(runs, arguments.html)
    elif arguments.json:
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


def _serve(runs: Sequence[Run], port: int, host: str | None) -> int:
    """Serve until somebody interrupts."""
    from ignition.monitor.page import LOOPBACK, Feed, PageServer

    server = PageServer(Feed(runs), host=host or LOOPBACK, port=None if port == ANY_USUAL else port)
    if server.open_to_others:
        sys.stderr.write(
            f"WARNING: whoever reaches port {server.port} of this machine can read curves, settings and pictures of "
            f"these runs: there is no password, and nothing is encrypted. Without --host it is this machine alone; "
            f"from another one: ssh -L {server.port}:localhost:{server.port} {socket.gethostname()}\n"
        )
    sys.stdout.write(f"{server.url}\nCtrl-C ends it.\n")
    sys.stdout.flush()
    server.start()
    try:
        server.wait()
    finally:
        server.close()
    return FINISHED


def _write(runs: Sequence[Run], name: str) -> None:
    from ignition.monitor.page import NoPage, one_file
    from ignition.rundir.rows import replace_file

    path = Path(name).expanduser()
    content = one_file(runs)
    try:
        replace_file(path, content.encode())
    except OSError as error:
        raise NoPage(f"{path}: {error.strerror or error}. Name a file in a folder that is there") from error
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    sys.exit(main())

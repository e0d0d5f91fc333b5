"""The command line of the drills."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ignition import run
from ignition.command_line import guarded, parse

if TYPE_CHECKING:
    from ignition.recipe import Recipe

ACCIDENTS = {
    "kill": "kill -9 in mid-epoch",
    "sigterm": "SIGTERM in mid-epoch",
    "sigint": "Ctrl-C in mid-epoch",
    "kill_in_save": "kill -9 in the middle of a save, at three places",
    "truncated": "the newest checkpoint is cut in half",
    "bit_flip": "a bit of the newest checkpoint is flipped",
    "malicious": "the newest checkpoint would run a stranger's code",
    "full_disk": "the disk is full while a save is due",
    "nan_batch": "a sample is NaN",
    "killed_worker": "kill -9 of a loader worker, where data.workers is above 0",
    "out_of_memory": "there is no memory for a batch",
    "torn_row": "the last row of each log is torn",
    "second_process": "a second process is started on the run folder",
}
FAULTS = ("nan_batch", "corrupt_labels", "rate_jump", "exploding_term")


def parser() -> argparse.ArgumentParser:
    """The command line of `ignition.run`, and what is to go wrong."""
    parser = run.parser()
    parser.prog = "python -m ignition.drill"
    parser.description = (
        "Let accidents happen to short runs of a recipe, on the CPU and in a temporary folder, and say which of them "
        "were survived; or train it with one fault put into it (--fault), all else as in ignition.run. "
        "Exit code 1: an accident was not survived."
    )
    survival = parser.add_argument_group("accidents")
    survival.add_argument("--list", action="store_true", help="say which there are, and do nothing")
    survival.add_argument("--only", action="append", metavar="NAME", help="this one alone; several: a,b or given again")
    survival.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS",
                          help="a run that takes longer hangs, and is not survived (default: 600)")  # fmt: skip
    drill = parser.add_argument_group("one fault in one training")
    drill.add_argument("--fault", choices=FAULTS, help="what goes wrong")
    drill.add_argument("--at", type=float, metavar="SHARE", help="when, as a share of the run (default: 0.4)")
    drill.add_argument(
        "--steps", type=int, metavar="N", help="for how many batches (default: 1 for batches, else to the end)"
    )
    drill.add_argument(
        "--size", type=float, metavar="FACTOR", help="what labels or the rate are multiplied by (default: 50, 100)"
    )
    drill.add_argument("--labels", metavar="KEY", help="key of the labels in a batch (default: what is called so)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Drill. Returns the exit code: 1 if an accident was not survived; with ``--fault`` that of `ignition.run`."""
    words = sys.argv[1:] if argv is None else argv
    if "--list" in words:
        from ignition.drill.report import print_list

        print_list(ACCIDENTS)
        return 0
    command = parser()
    arguments = parse(command, words, example="data.batch_size=4")
    if arguments.fault is not None:
        return _with_fault(arguments)
    of_a_fault = [name for name in ("at", "steps", "size", "labels") if getattr(arguments, name) is not None]
    if of_a_fault:
        command.error(f"--{of_a_fault[0]} belongs to a --fault")
    ours, defaults = ("recipe", "settings", "config", "output"), vars(run.parser().parse_args(["RECIPE.py"]))
    given = {name for name, value in defaults.items() if getattr(arguments, name) != value}
    of_a_run = sorted(given.difference(ours))
    if of_a_run:
        command.error(f"--{of_a_run[0].replace('_', '-')} is for a run, and this begins and resumes runs of its own")

    chosen = [name for words in arguments.only or () for name in words.split(",")] or list(ACCIDENTS)
    unknown = [name for name in chosen if name not in ACCIDENTS]
    if unknown:
        command.error(f"there is no accident {unknown[0]!r}; there are {', '.join(ACCIDENTS)}")

    def drill() -> int:
        from ignition.drill.survival import survive

        return survive(arguments, chosen)

    return guarded(drill, show_traceback=arguments.traceback)


def _with_fault(arguments: argparse.Namespace) -> int:
    def break_it(recipe: type[Recipe]) -> type[Recipe]:
        from ignition.drill.training_faults import Fault, broken

        at = 0.4 if arguments.at is None else arguments.at
        fault = Fault(arguments.fault, at=at, steps=arguments.steps, size=arguments.size, labels=arguments.labels)
        return broken(recipe, fault)

    return guarded(lambda: run.train(arguments, change=break_it), show_traceback=arguments.traceback)

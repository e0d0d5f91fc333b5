"""The command that breaks a training on purpose: ``python -m ignition.drill recipes/depth.py --fault nan_batch``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ignition import run
from ignition.command_line import guarded, parse

if TYPE_CHECKING:
    from ignition.recipe import Recipe

FAULTS = ("nan_batch", "corrupt_labels", "rate_jump", "exploding_term")


def parser() -> argparse.ArgumentParser:
    """The command line of `ignition.run`, and what is to go wrong."""
    parser = run.parser()
    parser.prog = "python -m ignition.drill"
    parser.description = (
        "Train a recipe with a fault put into it, to see what becomes of it. All else is as in ignition.run."
    )
    drill = parser.add_argument_group("the fault")
    drill.add_argument("--fault", choices=FAULTS, required=True, help="what goes wrong")
    drill.add_argument(
        "--at", type=float, default=0.4, metavar="SHARE", help="when, as a share of the run (default: 0.4)"
    )
    drill.add_argument(
        "--steps", type=int, metavar="N", help="for how many batches (default: 1 for batches, else to the end)"
    )
    drill.add_argument(
        "--size", type=float, metavar="FACTOR", help="what labels or the rate are multiplied by (default: 50, 100)"
    )
    drill.add_argument("--labels", metavar="KEY", help="key of the labels in a batch (default: what is called so)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train with a fault. Returns the exit code of `ignition.run`."""
    arguments = parse(parser(), sys.argv[1:] if argv is None else argv, example="optimizer.lr=5e-5")

    def break_it(recipe: type[Recipe]) -> type[Recipe]:
        from ignition.faults import Fault, broken

        fault = Fault(
            arguments.fault, at=arguments.at, steps=arguments.steps, size=arguments.size, labels=arguments.labels
        )
        return broken(recipe, fault)

    return guarded(lambda: run.train(arguments, change=break_it), show_traceback=arguments.traceback)


if __name__ == "__main__":
    sys.exit(main())

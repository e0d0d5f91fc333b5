"""What all commands do at their edge: say what went wrong in one message, and exit with the right number."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable

FINISHED, FAILED, BAD_USAGE, DIVERGED = 0, 1, 2, 3


def parse(parser: argparse.ArgumentParser, words: list[str], *, example: str = "") -> argparse.Namespace:
    """The command line's arguments, with ``--traceback`` and, where there are any, settings written ``key=value``.

    What is wrong with them ends the command with code 2, as it does with any argument.
    """
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error came up")
    arguments = parser.parse_intermixed_args(words)
    wrong = [setting for setting in getattr(arguments, "settings", ()) if "=" not in setting]
    if wrong:
        parser.error(f"what is {wrong[0]!r}? Settings are written key=value, for instance {example}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it logs every error that is about to be told anyway
    logging.getLogger("recipes").setLevel(logging.INFO)  # a recipe that speaks has something to say
    return arguments


# What users can cause, by the module that defines it, and the exit code. None of it can be raised before that is
# loaded, so a command that needs nothing heavy does not wait for it.
KNOWN = {
    ("ignition.config", "ConfigError"): BAD_USAGE,
    ("ignition.recipe", "RecipeError"): BAD_USAGE,
    ("ignition.assembly", "AssemblyError"): BAD_USAGE,
    ("ignition.drill.training_faults", "FaultError"): BAD_USAGE,
    ("ignition.rundir", "RunFolderError"): BAD_USAGE,
    ("ignition.data", "BadSample"): FAILED,
    ("ignition.checkpoint_file", "BadCheckpoint"): FAILED,
    ("ignition.distributed", "ProcessLost"): FAILED,
    ("ignition.loss_terms", "LossError"): FAILED,
    ("ignition.handlers.checkpoint", "SavingFailed"): FAILED,
    ("ignition.engine", "OutOfMemory"): FAILED,
    ("ignition.events", "Diverged"): DIVERGED,
}


def guarded(command: Callable[[], int], *, show_traceback: bool = False) -> int:
    """Run ``command`` and return its exit code; users' mistakes become one message without a traceback.

    2: bad usage, config, recipe or data settings. 1: the run failed. 3: it diverged. 130: interrupted.
    An error that is nobody's mistake but a program's keeps its traceback, since somebody has to read it.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        code = _code_of(error)
        if code is None:
            raise
        if show_traceback:
            traceback.print_exception(error)
            print(getattr(error, "details", ""), file=sys.stderr)
        say(f"{'diverged: ' if code == DIVERGED else ''}{error}")
        return code


def _code_of(error: Exception) -> int | None:
    """The exit code of what a user can cause; None for a program's own mistake."""
    for (module, name), code in KNOWN.items():
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return code
    return None


def say(message: str) -> None:
    """One message on standard error. Of many processes, the others than the first say who they are."""
    rank = os.environ.get("RANK", "0")
    print(message if rank == "0" else f"[process {rank}] {message}", file=sys.stderr, flush=True)

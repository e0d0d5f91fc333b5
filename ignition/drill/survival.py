"""Goes through the accidents, one after another, and tells what was survived."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ignition.command_line import FAILED, FINISHED, say
from ignition.config import load_config
from ignition.drill.accidents import BODIES
from ignition.drill.child import Lost
from ignition.drill.report import LOST, NOT_APPLICABLE, SURVIVED, Result, print_results
from ignition.drill.sandbox import SMALL, NotApplicable, Sandbox, interruptible
from ignition.drill.short_runs import EPOCHS
from ignition.drill.training_faults import FaultError
from ignition.recipe import load_recipe
from ignition.run import default_config


def survive(arguments: argparse.Namespace, names: list[str]) -> int:
    """Let the accidents of these names happen to short runs of the recipe. Returns 1 if one was not survived.

    The runs lie in a temporary folder, of which nothing stays, or in ``--output``, where all of it does.

    Raises:
        FaultError: this system has no fork, or the recipe does not train without accidents either.
        RecipeError, ConfigError: as in `ignition.run`.
    """
    if not hasattr(os, "fork"):
        raise FaultError(f"these drills need processes that fork, which {sys.platform} does not have")
    recipe = load_recipe(arguments.recipe)
    config_path = arguments.config or default_config(Path(arguments.recipe))
    config = load_config(config_path, overrides=arguments.settings, task=Path(arguments.recipe).stem,
                         recipe_settings=recipe.Settings)  # fmt: skip
    words = [arguments.recipe, *(["--config", str(config_path)] if config_path else []), *SMALL]
    words += [f"trainer.epochs={EPOCHS}"] if config.trainer.epochs < EPOCHS else []
    words += [setting for setting in arguments.settings if not setting.startswith("data.workers=")]

    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ignition-drill-"))
        stack.enter_context(_temporary_files_in(scratch))
        place = _empty_folder(arguments.output) if arguments.output is not None else Path(scratch)
        sandbox = Sandbox(place, words, recipe, workers=config.data.workers, timeout=arguments.timeout)
        stack.callback(sandbox.close)
        say("two short runs to begin with: one to which nothing happens, and one that is killed")
        sandbox.prepare()
        results = []
        for number, name in enumerate(names, start=1):
            results.append(_result(sandbox, name))
            say(f"{number} of {len(names)}: {name}: {results[-1].verdict} ({results[-1].seconds:.1f} s)")
    print_results(str(arguments.recipe), results)
    lost = [result.name for result in results if result.verdict == LOST]
    passed = sum(result.verdict == SURVIVED for result in results)
    say(f"{passed} of {passed + len(lost)} survived, in {time.monotonic() - began:.0f} s"
        + (f"; not: {', '.join(lost)}" if lost else ""))  # fmt: skip
    return FAILED if lost else FINISHED


def _result(sandbox: Sandbox, name: str) -> Result:
    began = time.monotonic()
    try:
        verdict, seen = SURVIVED, BODIES[name](sandbox)
    except Lost as error:
        verdict, seen = LOST, str(error)
    except NotApplicable as error:
        verdict, seen = NOT_APPLICABLE, str(error)
    return Result(name, verdict, time.monotonic() - began, seen)


@contextlib.contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """A loader worker that is killed leaves its temporary files; in the processes begun here they lie in ``folder``."""
    former, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = former


def _empty_folder(output: str) -> Path:
    """The folder to work in.

    Raises:
        FaultError: it cannot be made, or there is something in it.
    """
    folder = Path(output).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FaultError(f"{folder} is not empty: name another folder for --output")
    except OSError as error:
        raise FaultError(f"cannot work in {folder}: {error.strerror}") from error
    return folder

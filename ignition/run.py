"""The command that trains: ``python -m ignition.run recipes/depth.py``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ignition.command_line import guarded, parse, say

if TYPE_CHECKING:
    from ignition.config import Config, Places
    from ignition.lifecycle import Outcome
    from ignition.recipe import Recipe
    from ignition.rundir import RunFolder
    from ignition.training import Training

RUNS = "runs"  # where run folders are made
NEWEST = "newest"  # what --resume without a folder means
CHOSEN = "chosen"  # what --verify-resume without N+M means


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.run",
        description="Train a recipe. Ends with a table of results and the place of the run folder.",
        epilog="Settings: key=value overrides the config, for instance optimizer.lr=5e-5 data.batch_size=16. "
        "docs/config.md has all keys. Under torchrun the same command trains on many processes.",
    )
    parser.add_argument("recipe", metavar="RECIPE.py", help="recipe file, for instance recipes/depth.py")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="overrides of the config")
    parser.add_argument("--config", metavar="YAML", help="config file (default: configs/<recipe>.yaml)")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="run folder (default: runs/<recipe>/<config>-<number>); with --find-lr, where its picture goes",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=NEWEST,
        metavar="DIR",
        help="go on with the run in DIR, or start it there; without DIR, with the newest run of this config",
    )
    parser.add_argument(
        "--verify-resume",
        nargs="?",
        const=CHOSEN,
        metavar="N+M",
        help="train in a temporary folder, straight and with a kill -9 and a resume in between, and tell the first "
        "thing that differs; saved after N iterations, compared for M more (default: chosen)",
    )
    parser.add_argument("--check", action="store_true", help="build everything, try two steps, and tell; no training")
    parser.add_argument(
        "--find-lr", action="store_true", help="try rising learning rates, and tell which are good; no training"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train. Returns the exit code: 0, 1 failed, 2 bad usage, 3 diverged, 130 / 143 interrupted and saved."""
    words = _untangle(sys.argv[1:] if argv is None else argv)
    arguments = parse(parser(), words, example="optimizer.lr=5e-5")
    asked = [("--find-lr", arguments.find_lr), ("--verify-resume", arguments.verify_resume is not None),
             ("--check", arguments.check), ("--resume", arguments.resume is not None)]  # fmt: skip
    things = [name for name, is_asked in asked if is_asked]
    if len(things) > 1 and things != ["--check", "--resume"]:
        parser().error(f"{things[0]} and {things[1]} are different things to do: give one of them")
    if arguments.verify_resume is not None:
        if arguments.output is not None:
            parser().error("--verify-resume leaves nothing behind: it takes no --output")
        return guarded(lambda: verify_resume(arguments), show_traceback=arguments.traceback)
    return guarded(lambda: train(arguments), show_traceback=arguments.traceback)


def verify_resume(arguments: argparse.Namespace) -> int:
    """Tell whether a run that is killed and resumed is the run that was not. Returns 0 if so, 1 if not."""
    from ignition.exact_resume.verification import TrialFailed, Verification

    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if processes != here:
        parser().error("--verify-resume starts its processes itself, on one machine: give torchrun one node")
    if os.environ.get("RANK", "0") != "0":
        return 0  # the first one starts as many as there are here, kills and starts them again
    asked = None if arguments.verify_resume == CHOSEN else arguments.verify_resume
    verification = Verification(arguments.recipe, arguments.config, arguments.settings, say, asked, processes)
    try:
        return 0 if verification.run() else 1
    except TrialFailed as error:
        say(str(error))
        return error.code
    except ValueError as error:
        say(f"--verify-resume: {error}")
        return 2


def _untangle(argv: list[str]) -> list[str]:
    """``--resume`` takes a folder or nothing, ``--verify-resume`` N+M or nothing: what else follows is not for them."""
    argv = list(argv)
    for place, word in enumerate(argv[:-1]):
        follower = argv[place + 1]
        if word == "--verify-resume" and not re.fullmatch(r"\d+\+\d+", follower):
            argv[place] = f"--verify-resume={CHOSEN}"
        if word == "--resume" and (follower.endswith(".py") or ("=" in follower and not Path(follower).is_dir())):
            argv[place] = f"--resume={NEWEST}"
    return argv


def train(arguments: argparse.Namespace, change: Callable[[type[Recipe]], type[Recipe]] = lambda recipe: recipe) -> int:
    """Do what the command line says, with the recipe as ``change`` makes it. Returns the exit code."""
    from ignition import distributed  # heavy from here on
    from ignition.assembly import choose_device
    from ignition.check import check
    from ignition.config import Places, load_config
    from ignition.recipe import load_recipe

    recipe_class = change(load_recipe(arguments.recipe))
    config_path = arguments.config or default_config(Path(arguments.recipe))
    config = load_config(config_path, overrides=arguments.settings, task=Path(arguments.recipe).stem,
                         recipe_settings=recipe_class.Settings)  # fmt: skip
    if arguments.check:
        places = Places(config_path, arguments.settings, recipe_class.Settings)
        return check(recipe_class, config, lambda training: review(training, places, folder=Path(RUNS)))
    device, wait_seconds = choose_device(config.trainer.device).type, 60 * config.trainer.wait_minutes
    with distributed.process_group(device, timeout_seconds=wait_seconds):
        if arguments.find_lr:
            from ignition.find_learning_rate import find_learning_rate  # it loads matplotlib

            return find_learning_rate(recipe_class, config, arguments.output)
        run, is_new = open_run(arguments, config_path)
        with run.lock() if distributed.rank() == 0 else nullcontext():
            if not is_new:
                config = _config_of(run, config, arguments, recipe_class)
            places = Places(config_path if is_new else run.config_path, arguments.settings, recipe_class.Settings)
            return _train(recipe_class, config, run, places, is_new=is_new, changed=bool(arguments.settings))


def _train(
    recipe_class: type[Recipe], config: Config, run: RunFolder, places: Places, *, is_new: bool, changed: bool
) -> int:
    from ignition import assembly, distributed
    from ignition.lifecycle import Lifecycle
    from ignition.training import Training

    if is_new and distributed.rank() == 0:
        run.write_config(config.to_yaml())
        run.write_recipe(Path(recipe_class.__recipe_file__))  # type: ignore[attr-defined]
        run.write_environment()
    try:
        training = Training(recipe_class(config.recipe, config.data), config, run)  # type: ignore[call-arg]
        life = Lifecycle(training)
        restored = not is_new and life.restore()
        if not restored:
            training.begin()
    except Exception:
        if is_new and distributed.rank() == 0:
            run.discard()
        raise
    say_first(f"run folder: {run.path}")
    if distributed.world_size() > 1:
        say_first(assembly.shares(config))
    if restored:
        ended = distributed.from_first(run.read_status())
        if ended.get("status") == "stopped" and not changed:
            say_first(
                f"already stopped: {ended.get('reason')}. To go on, change what stopped it: "
                "early_stop=null, trainer.max_hours=<more>"
            )
            return 0
        if life.finished and ended.get("status") == "finished":
            say_first(f"already finished: {config.trainer.epochs} epochs are done. More: trainer.epochs=<number>")
            return 0
        then, now = ended.get("world_size", distributed.world_size()), distributed.world_size()
        moved = f", now on {now} instead of {then} processes" if then != now else ""
        say_first(f"resumed at iteration {training.trainer.state.iteration}{moved}")
        if not changed:
            life.stay_stopped()
    if distributed.rank() == 0:
        review(training, places, folder=run.path)
    outcome = life.fit()
    if distributed.rank() == 0:
        report(training, outcome)
        if outcome.status == "preempted":
            recipe = Path(recipe_class.__recipe_file__)  # type: ignore[attr-defined]
            say(f"go on by: python -m ignition.run {_short(recipe)} --resume {_short(run.path)}")
    return 0 if outcome.signal_number is None else 128 + outcome.signal_number


def open_run(arguments: argparse.Namespace, config_path: str | Path | None) -> tuple[RunFolder, bool]:
    """The run folder, made or opened by process 0 for all, and whether it is new.

    Processes that torchrun has started again go on with the run that they had begun.

    Raises:
        RunFolderError: the place cannot be used, or holds a run and ``--resume`` was not given.
    """
    from ignition import distributed
    from ignition.rundir import RunFolder

    recipe = Path(arguments.recipe).stem
    name = Path(config_path).stem if config_path else recipe
    found: tuple[str, bool] | None = None
    if distributed.rank() == 0:
        place: str | Path | None = arguments.output
        if arguments.resume is not None:
            place = place or (RunFolder.newest(RUNS, recipe, name) if arguments.resume == NEWEST else arguments.resume)
        place = place or RunFolder.of_this_launch(RUNS, recipe, name)
        goes_on = arguments.resume is not None or (place is not None and RunFolder.is_of_this_launch(place))
        if place is None:
            found = str(RunFolder.create(RUNS, recipe, name).path), True
        elif goes_on and RunFolder.is_run(place):
            found = str(RunFolder.open(place).path), False
        else:
            found = str(RunFolder.create_at(place).path), True
    path, is_new = distributed.from_first(found)
    return RunFolder(path), is_new


def _config_of(run: RunFolder, asked: Config, arguments: argparse.Namespace, recipe_class: type[Recipe]) -> Config:
    """A resumed run keeps its own config; only what the command line says changes it."""
    from ignition.config import load_config

    own = load_config(run.config_path, overrides=arguments.settings, recipe_settings=recipe_class.Settings)
    if arguments.config is not None and own != asked:
        say_first(f"{arguments.config} differs from the config this run was started with; going on with "
                  f"{run.config_path} (change single settings by key=value)")  # fmt: skip
    return own


def default_config(recipe: Path) -> Path | None:
    """``configs/<recipe>.yaml`` beside the recipe's folder or the working one, or a YAML beside the recipe."""
    name = f"{recipe.stem}.yaml"
    for place in (recipe.parent.parent / "configs" / name, Path("configs") / name, recipe.with_suffix(".yaml")):
        if place.is_file():
            return place
    return None


def review(training: Training, places: Places, *, folder: Path) -> None:
    """What there is against the settings, kept in the run folder, and told unless the config says not to.

    Args:
        folder: where checkpoints go, for what the disk has left.
    """
    from ignition.assembly.reviewing import review_recipe
    from ignition.recipe import RecipeError

    run, config = training.run, training.config
    try:
        reviewed = review_recipe(
            training.recipe, config, places.of, folder=folder, splits=training.splits, model=training.model
        )
    except RecipeError as error:  # a review ends no run
        say(f"the settings are not reviewed: {error}")
        return
    run.write_review([objection.row() for objection in reviewed.objections], reviewed.unknown)
    if config.review.tell and reviewed.objections:
        say("\n".join(objection.text() for objection in reviewed.objections))
        say(f"{len(reviewed.objections)} of the review; to be quiet about what is meant: review.accept=[NAME]")


def report(training: Training, outcome: Outcome) -> None:
    """The table of results, and where they are."""
    from rich.console import Console

    from ignition.summary import Summary

    console, settings = Console(), training.config.checkpoint
    summary = Summary(training.run.read_metrics(), metric=settings.metric, mode=settings.mode)
    console.print()
    if summary.last:
        console.print(summary.table())
    others = summary.others_table()
    if others is not None:
        console.print(others)
    if summary.gap == summary.gap:
        console.print(f"gap: validation loss less training loss {summary.gap:+.4g} (best epoch)")
    if summary.skipped:
        console.print(f"training samples that could not be read, others came in their place: {summary.skipped}")
    console.print(f"{outcome.status}: {outcome.reason}", highlight=False, soft_wrap=True)
    console.print(f"run folder: {training.run.path}", highlight=False, soft_wrap=True)


def _short(path: Path) -> str:
    """As a person would type it from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def say_first(message: str) -> None:
    """A message of process 0 alone."""
    if os.environ.get("RANK", "0") == "0":
        say(message)


if __name__ == "__main__":
    sys.exit(main())

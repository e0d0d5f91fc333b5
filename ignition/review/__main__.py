"""The command that reviews settings: ``python -m ignition.review configs/depth.yaml``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ignition.command_line import FAILED, FINISHED, guarded, parse

if TYPE_CHECKING:
    from ignition.review import Objection

RUNS = Path("runs")


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.review",
        description="What there is against the settings of a run, before it begins; nothing is trained.",
        epilog="docs/review.md has all rules, and where each is from. Settings that are meant: review.accept=[NAME].",
    )
    parser.add_argument("subject", metavar="CONFIG_OR_RUN", help="config file, or run folder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="overrides of the config")
    parser.add_argument("--recipe", metavar="RECIPE.py", help="its recipe (default: recipes/<task>.py)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is anything")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Review. Returns the exit code: 0, 1 objections under ``--strict``, 2 bad usage."""
    arguments = parse(parser(), sys.argv[1:] if argv is None else argv, example="optimizer.lr=5e-5")
    return guarded(lambda: _review(arguments), show_traceback=arguments.traceback)


def _review(arguments: argparse.Namespace) -> int:
    from ignition.config import Places
    from ignition.rundir import RunFolder, RunFolderError

    subject, settings = Path(arguments.subject), arguments.settings
    if subject.suffix == ".py":
        raise RunFolderError(f"{subject} is a recipe: name its config, and --recipe {subject}")
    if subject.is_dir():
        run = RunFolder.open(subject)
        config, folder = run.config_path, run.path
        recipe: Path | None = run.recipe_to_run()
    else:
        config, folder = subject, RUNS
        recipe = _recipe_of(subject, Places(subject, settings).task)
    if arguments.recipe is not None:
        recipe = Path(arguments.recipe)
    objections, unknown = _objections(config, recipe, settings, folder)
    if arguments.json:
        rows = [objection.row() for objection in objections]
        named = str(recipe) if recipe is not None else None
        print(json.dumps({"config": str(config), "recipe": named, "objections": rows, "unknown": list(unknown)}))
    else:
        for objection in objections:
            print(objection.text())
        for what in unknown:
            print(f"not looked at: {what}")
        print(f"{config}: {len(objections) or 'no'} objection{'' if len(objections) == 1 else 's'}")
    return FAILED if arguments.strict and objections else FINISHED


def _objections(
    config_path: Path, recipe: Path | None, settings: list[str], folder: Path
) -> tuple[list[Objection], tuple[str, ...]]:
    """What there is against the config, and what could not be looked at."""
    from ignition.config import Places, load_config

    if recipe is None:
        from ignition.review import Plan, review

        config = load_config(config_path, overrides=settings)
        task = f"of task '{config.task}'" if config.task else "(the config names no task)"
        why = f"recipe: none {task} is found, so its own rules are not asked; --recipe FILE names it"
        return review(Plan(config), place=Places(config_path, settings).of), (why,)

    from ignition.assembly.reviewing import review_recipe  # heavy: what a recipe says is asked of itself
    from ignition.recipe import load_recipe

    recipe_class = load_recipe(recipe)
    config = load_config(config_path, overrides=settings, recipe_settings=recipe_class.Settings)
    places = Places(config_path, settings, recipe_class.Settings)
    made = recipe_class(config.recipe, config.data)  # type: ignore[call-arg]
    reviewed = review_recipe(made, config, places.of, folder=folder)
    return reviewed.objections, reviewed.unknown


def _recipe_of(config: Path, task: str | None) -> Path | None:
    """``recipes/<task>.py`` beside the config's folder or in the working one, or a recipe beside the config."""
    name = f"{task or config.stem}.py"
    for place in (config.parent.parent / "recipes" / name, Path("recipes") / name, config.parent / name):
        if place.is_file():
            return place
    return None


if __name__ == "__main__":
    sys.exit(main())

"""The command that evaluates a run's weights: ``python -m ignition.evaluate runs/depth/depth-001``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignition.command_line import guarded, parse

if TYPE_CHECKING:
    from ignite.engine import Engine

    from ignition.rundir import RunFolder


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.evaluate",
        description="Evaluate a run's weights on its validation data or on other data; nothing is trained.",
        epilog="Other data: data.val.name=middlebury2003 data.val.root=FOLDER. Beside every metric stands what a "
        "trivial predictor scores on the same data.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="overrides of the run's config")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE", help="which weights (default: best)")
    parser.add_argument("--pictures", metavar="DIR", help="write pictures of the predictions to DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluate. Returns the exit code: 0, 1 failed, 2 bad usage."""
    arguments = parse(parser(), sys.argv[1:] if argv is None else argv, example="data.val.name=middlebury2003")
    return guarded(lambda: _evaluate(arguments), show_traceback=arguments.traceback)


def _evaluate(arguments: argparse.Namespace) -> int:
    from ignition.rundir import RunFolder

    run = RunFolder.open(arguments.run)
    checkpoint = checkpoint_path(run, arguments.checkpoint)
    pictures = Path(arguments.pictures) if arguments.pictures else None
    metrics, baseline = evaluate(run, checkpoint, overrides=arguments.settings, pictures=pictures)
    if arguments.json:
        values = {f"val/{name}": value for name, value in metrics.items()}
        values |= {f"baseline/{name}": value for name, value in baseline.items()}
        print(json.dumps({"run": str(run.path), "checkpoint": checkpoint.name, **_plain(values)}))
    else:
        _print(checkpoint, metrics, baseline)
    return 0


def evaluate(
    run: RunFolder, checkpoint: Path, *, overrides: list[str], pictures: Path | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a run's weights, and those of the trivial predictor, on the configured validation data.

    Raises:
        RecipeError, ConfigError, AssemblyError, BadCheckpoint: the run cannot be evaluated; says why.
    """
    from ignition import assembly, checkpoint_file
    from ignition.config import load_config
    from ignition.evaluations import Evaluators
    from ignition.precision import Precision
    from ignition.randomness import seed_all
    from ignition.recipe import load_recipe

    recipe_class = load_recipe(run.recipe_to_run())
    config = load_config(run.config_path, overrides=overrides, recipe_settings=recipe_class.Settings)
    recipe = recipe_class(config.recipe, config.data)  # type: ignore[call-arg]
    device = assembly.choose_device(config.trainer.device)
    precision = Precision(device, amp=config.trainer.amp, channels_last=config.trainer.channels_last)
    seed_all(config.trainer.seed)  # as when it was trained: a recipe may shuffle files before it parts them
    splits = assembly.build_splits(recipe, training=False)

    payload = checkpoint_file.load(checkpoint, map_location="cpu")
    model = assembly.build_model(recipe, config, precision)
    assembly.load_weights(model, assembly.chosen_weights(config, payload), checkpoint)
    evaluators = Evaluators(recipe, config, model, weights=assembly.loss_weights(config), precision=precision)
    evaluator = evaluators.build()
    if pictures is not None:
        _draw_into(pictures, recipe, evaluator, config.logging.pictures or 4)
    evaluators.run(splits.val, "val", evaluator)
    trivial = evaluators.run_baseline(splits)
    return _numbers(evaluator), _numbers(trivial) if trivial is not None else {}


def _numbers(evaluator: Engine) -> dict[str, float]:
    return {name: float(value) for name, value in evaluator.state.metrics.items() if isinstance(value, (int, float))}


def _draw_into(folder: Path, recipe: Any, evaluator: Any, count: int) -> None:
    from torchvision.utils import save_image

    from ignition.handlers.pictures import Pictures
    from ignition.rundir import RunFolderError

    if not hasattr(recipe, "pictures"):
        raise RunFolderError("this recipe draws no pictures; leave --pictures out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot write pictures there: {error.strerror}") from error
    Pictures(recipe.pictures, lambda name, image: save_image(image, folder / f"{name}.png"), count=count).attach(
        evaluator
    )


def checkpoint_path(run: RunFolder, which: str) -> Path:
    """The file meant by ``best``, ``best-2``, ``last`` or a path.

    Raises:
        RunFolderError: there is no such checkpoint.
    """
    from ignition.rundir import RunFolderError

    named = run.checkpoints / f"{which}.pt"
    path = named if which in ("best", "last") or named.is_file() else Path(which)
    if not path.is_file():
        there = sorted(file.name for file in run.checkpoints.glob("*.pt"))
        raise RunFolderError(f"{path}: no such checkpoint (in {run.checkpoints}: {', '.join(there) or 'none'})")
    return path


def _print(checkpoint: Path, metrics: dict[str, float], baseline: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(header_style="bold")
    table.add_column("metric")
    table.add_column("this model", justify="right")
    if baseline:
        table.add_column("trivial", justify="right")
    for name, value in metrics.items():
        trivial = f"{baseline[name]:.4g}" if name in baseline else "-"
        table.add_row(name, f"{value:.4g}", *([trivial] if baseline else []))
    console = Console()
    console.print(str(checkpoint), highlight=False, soft_wrap=True)
    console.print(table)


def _plain(values: dict[str, float]) -> dict[str, Any]:
    """JSON knows no NaN: such values as text, as in metrics.jsonl."""
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return {name: names.get(str(value), value) for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())

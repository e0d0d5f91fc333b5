"""What ``--find-lr`` does: builds a run, tries learning rates on it, and tells which are good. Nothing is trained."""

from __future__ import annotations

import json
import math
import shlex
import tempfile
import time
from pathlib import Path

from ignite.engine import Engine, Events
from rich.console import Console
from rich.table import Table

from ignition import distributed
from ignition.assembly import AssemblyError
from ignition.config import Config
from ignition.handlers.learning_rate_finder import LearningRateFinder
from ignition.handlers.progress import duration
from ignition.handlers.signals import Signals
from ignition.learning_rate_curve import LearningRateCurve, written
from ignition.recipe import Recipe
from ignition.rundir import RunFolder
from ignition.training import Training

PICTURE = "learning_rate.png"
NEAR = 3.0  # a rate that is off by no more than this factor is as good as any


def find_learning_rate(recipe_class: type[Recipe], config: Config, folder: str | Path | None = None) -> int:
    """Search the learning rate for a run of this recipe and config; the picture goes into ``folder``, made if need be.

    The config's schedule is ignored: what is sought is ``optimizer.lr``, the highest rate of one. Its clipping is not.

    Returns an exit code: 0, 1 where the losses suggest no rate, 130 or 143 where a signal ended the search.

    Raises:
        AssemblyError, BadSample, LossError: what would end the run as well; or there is no place for the picture.
    """
    place = Path(folder or ".") / PICTURE
    _prepare(place)
    with Signals() as signals, tempfile.TemporaryDirectory(prefix="ignition-find-lr-") as scratch:
        training = _build(recipe_class, config, Path(scratch) / "run")
        try:
            training.begin()
            began = time.perf_counter()
            curve = None if signals.agree() else _search(training, signals)
        finally:
            training.data.loader.close()
        if signals.signal_number is not None:
            return 128 + signals.signal_number
    if curve is not None and distributed.rank() == 0:
        _report(curve, config, training, time.perf_counter() - began, place)
    return 0 if curve is not None and curve.valley is not None else 1


def _prepare(place: Path) -> None:
    """Make sure that the picture can be written, before the search and not after it; process 0 looks for all."""
    problem = ""
    if distributed.rank() == 0:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.open("ab").close()
            if not place.stat().st_size:
                place.unlink()
        except OSError as error:
            problem = f"{place}: the picture cannot be written there: {error.strerror}; another place: --output DIR"
    problem = distributed.from_first(problem)
    if problem:
        raise AssemblyError(problem)


def _build(recipe_class: type[Recipe], config: Config, scratch: Path) -> Training:
    """All that a run has, with a run folder that nobody sees."""
    quiet = config.quiet()
    recipe = recipe_class(quiet.recipe, quiet.data)  # type: ignore[call-arg]
    training = Training(recipe, quiet, RunFolder.create_at(scratch))
    for group, rate in zip(training.optimizer.param_groups, training.learning_rate.base_rates, strict=True):
        group["lr"] = rate  # as the config has it: the schedule may begin at 0
    return training


def _search(training: Training, signals: Signals) -> LearningRateCurve:
    finder = LearningRateFinder(training.model, training.optimizer)
    console = Console(stderr=True, quiet=distributed.rank() != 0)
    batches = finder.steps * training.config.trainer.accumulate
    console.print(f"trying {finder.steps} learning rates on {batches} batches", highlight=False, soft_wrap=True)
    with console.status("") as status:

        def tell(engine: Engine) -> None:
            done = len(finder.losses)
            loss = finder.losses[-1] if done else math.nan
            status.update(f"step {done} of {finder.steps}, loss {loss:.4g}")

        training.trainer.add_event_handler(Events.ITERATION_COMPLETED, tell)
        keep = [training.clipping, tell]
        return finder.find(training.trainer, training.data.loader, keep=keep, until=signals.agree)


def _report(curve: LearningRateCurve, config: Config, training: Training, seconds: float, place: Path) -> None:
    """A short table, the picture, and what to do."""
    highest, own = max(training.learning_rate.base_rates), config.optimizer.lr
    console, share = Console(), own / highest  # the curve is over the highest group's rate
    table = Table("", "learning rate", "loss", "", box=None, pad_edge=False)
    rows = [
        ("steepest fall", curve.steepest, ""),
        ("valley, two thirds down", curve.valley, ""),
        ("lowest loss", curve.lowest, ""),
        ("diverged", curve.diverged, ""),
        ("in the config", highest, _judge(curve, highest)),
    ]
    for name, rate, words in rows:
        if rate is not None:
            loss = curve.loss_at(rate) if rate != curve.diverged else math.nan
            table.add_row(name, written(rate * share), f"{loss:.4g}" if math.isfinite(loss) else "", words)
    console.print(f"{len(curve.rates)} steps in {duration(seconds)}: {curve.ended}\n", highlight=False, soft_wrap=True)
    console.print(table)
    try:
        curve.draw(place, title=f"Learning rate search: {_name(training.recipe)}", present=highest)
        console.print(f"\npicture: {place}", highlight=False, soft_wrap=True)
    except OSError as error:
        console.print(f"\nno picture: {place}: {error.strerror}", highlight=False, soft_wrap=True)
    if curve.valley is None:
        console.print(f"no suggestion: {curve.reason}", highlight=False, soft_wrap=True)
    else:
        console.print(f"take it by: {_override(config, curve.valley / highest)}", highlight=False, soft_wrap=True)


def _name(recipe: Recipe) -> str:
    return Path(type(recipe).__recipe_file__).stem  # type: ignore[attr-defined]


def _judge(curve: LearningRateCurve, rate: float) -> str:
    """Whether a rate is too high or too low, in words."""
    if curve.valley is None or curve.lowest is None:
        return ""
    ratio = rate / curve.valley
    if curve.diverged is not None and rate >= curve.diverged:
        return "much too high: the loss has diverged by then"
    if rate > curve.lowest:
        return "too high: the loss rises by then"
    if ratio > NEAR:
        return f"high: {ratio:.0f} times the valley's"
    if ratio < 1 / NEAR:
        return f"low: 1/{1 / ratio:.0f} of the valley's"
    return "right"


def _override(config: Config, factor: float) -> str:
    """The config's rate times ``factor``, as it is written on the command line; so too the rates of single groups."""
    words = [f"optimizer.lr={written(config.optimizer.lr * factor)}"]
    if any(group.lr is not None for group in config.optimizer.groups):
        groups = [group.model_dump(exclude_none=True) for group in config.optimizer.groups]
        for group in groups:
            if "lr" in group:
                group["lr"] = float(written(group["lr"] * factor))
        words.append(shlex.quote(f"optimizer.groups={json.dumps(groups)}"))
    return " ".join(words)

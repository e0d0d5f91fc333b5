"""A look before a long run: builds everything, tries two steps and one evaluation, and tells what it found."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from rich.console import Console
from torch import nn

from ignition import distributed
from ignition.assembly import ask
from ignition.config import Config
from ignition.curve import fits
from ignition.data import Loader, SampleKey, SkippedSamples, describe
from ignition.evaluations import run_over
from ignition.events import StepEvents
from ignition.handlers.progress import duration
from ignition.recipe import Recipe, optional
from ignition.rundir import RunFolder
from ignition.scheduling import picture
from ignition.training import Training

SAMPLES = 32  # of each split, for its statistics
STEPS = 2
EVALUATION_SECONDS = 60.0  # an evaluation that takes longer is cut here, and counted up


@dataclass
class Statistics:
    """Range, spread and faults of one entry of a split's samples."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    count: int = 0
    non_finite: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    sum: float = 0.0
    squares: float = 0.0
    shapes: set[tuple[int, ...]] = field(default_factory=set)

    def add(self, tensor: torch.Tensor) -> None:
        """Count one sample in."""
        self.shape, self.dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        self.shapes.add(self.shape)
        values = tensor.double()
        finite = values[torch.isfinite(values)]
        self.non_finite += values.numel() - finite.numel()
        self.count += finite.numel()
        if finite.numel():
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            self.sum, self.squares = self.sum + float(finite.sum()), self.squares + float(finite.square().sum())

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else float("nan")

    @property
    def std(self) -> float:
        return max(self.squares / self.count - self.mean**2, 0.0) ** 0.5 if self.count else float("nan")


def check(recipe_class: type[Recipe], config: Config, look: Callable[[Training], None] = lambda training: None) -> int:
    """Print what a run of this recipe and config would meet; trains nothing that is kept. Returns an exit code.

    Args:
        look: is shown the training before anything is tried with it.

    Raises:
        AssemblyError, BadSample, LossError: what would end the run as well.
    """
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="ignition-check-") as folder,
        closing(RunFolder.create_at(Path(folder) / "run")) as run,
    ):
        quiet = config.quiet()
        training = Training(recipe_class(quiet.recipe, quiet.data), quiet, run)  # type: ignore[call-arg]
        look(training)
        training.begin()
        _print_model(console, training.model)
        _print_data(console, training)
        untouched, step_seconds = _try_steps(training)
        evaluation_seconds, evaluated = _try_evaluation(training)
        _print_outcome(console, training, untouched, evaluated)
        _print_rates(console, training)
        _print_cost(console, training, step_seconds, evaluation_seconds)
    return 0


def _print_model(console: Console, model: nn.Module) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    console.print(f"model: {type(model).__name__}, {trained:,} parameters trained, {frozen:,} frozen, {size:.1f} MiB")
    for name, child in model.named_children():
        console.print(f"  {name}: {sum(p.numel() for p in child.parameters()):,}", highlight=False)


def _print_data(console: Console, training: Training) -> None:
    for split, dataset in (("train", training.splits.train), ("val", training.splits.val)):
        looked_at = f"{min(len(dataset), SAMPLES)} looked at"
        console.print(f"\n{split}: {describe(dataset)}, {len(dataset):,} samples, {looked_at}", highlight=False)
        rows = [(name, *_described(found)) for name, found in statistics(_samples(training, dataset, split)).items()]
        rows.insert(0, ("", "shape", "range", "mean (std)", "not finite"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
            console.print("  " + line.rstrip(), highlight=False, soft_wrap=True)
        for line in _in_words(training, dataset):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def _in_words(training: Training, dataset: Any) -> list[str]:
    """What the recipe has to say of a split besides numbers, if it has."""
    part = optional(training.recipe, "describe")
    return list(ask(training.recipe, "describe", dataset)) if part is not None else []


def _described(found: Statistics) -> tuple[str, str, str, str]:
    """Shape and type, range, mean and faults, in words."""
    shape = " ".join(("x".join(map(str, found.shape)), found.dtype)).strip() + (" ..." if len(found.shapes) > 1 else "")
    bad = f"{found.non_finite:,}"
    if found.dtype == "bool":
        return shape, "", f"{found.mean:.1%} true", bad
    return shape, f"{found.low:.4g} .. {found.high:.4g}", f"{found.mean:.4g} ({found.std:.3g})", bad


def _samples(training: Training, dataset: Any, split: str) -> Iterator[Any]:
    """Samples spread evenly over a split, each read on its own, so that their sizes may differ."""
    count = min(len(dataset), SAMPLES)
    keys = [[SampleKey(0, number * len(dataset) // count)] for number in range(count)]
    skipped = SkippedSamples(split, len(dataset), replace=False) if training.config.data.skip_bad else None
    seed = training.config.trainer.seed
    yield from Loader(dataset, keys, seed=seed, split=split, collate=_only, skipped=skipped)  # type: ignore[arg-type]


def _only(samples: list[Any]) -> Any:
    return samples[0]


def statistics(samples: Iterator[Any]) -> dict[str, Statistics]:
    """`Statistics` of every tensor or number in ``samples``, by its place in the sample.

    >>> found = statistics(iter([{"x": torch.tensor([1.0, 3.0])}, {"x": torch.tensor([float("nan"), 5.0])}]))
    >>> found["x"].low, found["x"].high, found["x"].mean, found["x"].non_finite
    (1.0, 5.0, 3.0, 1)
    """
    found: dict[str, Statistics] = {}
    for sample in samples:
        for name, value in _flat(sample, ""):
            found.setdefault(name, Statistics()).add(value)
    return found


def _flat(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name or "sample", value
    elif isinstance(value, (int, float)):
        yield name or "sample", torch.tensor(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _flat(item, f"{name}[{number}]")


def _try_steps(training: Training) -> tuple[list[str], float]:
    """Two optimizer steps: names of parameters that got no gradient in any, and seconds an iteration takes."""
    names = {parameter: name for name, parameter in training.model.named_parameters() if parameter.requires_grad}
    touched: set[str] = set()
    times: list[float] = []

    def note_gradients(engine: Engine) -> None:
        touched.update(name for p, name in names.items() if p.grad is not None and bool((p.grad != 0).any()))

    training.trainer.add_event_handler(StepEvents.GRADIENTS_READY, note_gradients)
    training.trainer.add_event_handler(Events.GET_BATCH_STARTED, lambda engine: times.append(time.perf_counter()))
    training.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: _synchronize(training.device))
    enough = STEPS * training.config.trainer.accumulate
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=enough), lambda engine: engine.terminate(skip_completed=True)
    )
    training.trainer.run(_endless(training.data.loader), max_epochs=1, epoch_length=enough + 1)
    times.append(time.perf_counter())
    lengths = [end - begin for begin, end in pairwise(times)]
    return [name for name in names.values() if name not in touched], min(lengths)


def _endless(loader: Loader) -> Iterator[Any]:
    while True:
        yield from loader


def _try_evaluation(training: Training) -> tuple[float, int]:
    """Seconds that a whole evaluation takes, and how many batches of it were done."""
    evaluator, began = training.evaluator, time.perf_counter()

    def cut(engine: Engine) -> None:
        if time.perf_counter() - began > EVALUATION_SECONDS:
            engine.terminate(skip_completed=True)

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, cut)
    run_over(evaluator, training.val_loader)
    done = evaluator.state.iteration
    return (time.perf_counter() - began) * len(training.val_loader) / max(done, 1), done


def _print_outcome(console: Console, training: Training, untouched: list[str], evaluated: int) -> None:
    output: Any = training.trainer.state.output
    terms = ", ".join(f"{name} {float(value):.4g}" for name, value in output.terms.items())
    console.print(f"loss of step {STEPS}: {float(output.loss):.4g} ({terms})", highlight=False, soft_wrap=True)
    if untouched:
        shown = ", ".join(untouched[:8]) + (f" and {len(untouched) - 8} more" if len(untouched) > 8 else "")
        console.print(f"no gradient in {STEPS} steps: {shown}", highlight=False, soft_wrap=True)
    else:
        console.print("every trained parameter received a gradient")
    metrics = training.evaluator.state.metrics
    if evaluated < len(training.val_loader):
        batches = len(training.val_loader)
        console.print(f"evaluation cut after {EVALUATION_SECONDS:.0f} s: {evaluated} of {batches} batches")
    else:
        values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, (int, float)))
        console.print(f"evaluation of the untrained model: {values}", highlight=False, soft_wrap=True)


def _print_rates(console: Console, training: Training) -> None:
    settings, batches = training.config.trainer, len(training.data.loader)
    lines = picture(
        training.learning_rate,
        epochs=settings.epochs,
        epoch_steps=-(-batches // settings.accumulate),
        plain=not fits(console.encoding),
    )
    if training.config.schedule.name == "plateau":
        lines.append(f"lowered where {training.config.schedule.metric} stands still")
    console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def _print_cost(console: Console, training: Training, step_seconds: float, evaluation_seconds: float) -> None:
    settings, batches = training.config.trainer, len(training.data.loader)
    evaluations = -(-settings.epochs // settings.evaluate_every)
    seconds = settings.epochs * batches * step_seconds + evaluations * evaluation_seconds
    tensors = [*training.model.state_dict().values()]
    for state in training.optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    checkpoint = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
    kept = training.config.checkpoint.keep + training.config.checkpoint.keep_best
    console.print(
        f"full run: {settings.epochs} epochs of {batches} batches at {1000 * step_seconds:.0f} ms, "
        f"{evaluations} evaluations of {evaluation_seconds:.1f} s: about {duration(seconds)}\n"
        f"memory: {_memory(training.device)}\n"
        f"disk: {kept} checkpoints of {checkpoint:.1f} MiB",
        highlight=False,
        soft_wrap=True,
    )


def _memory(device: torch.device) -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    text = f"{peak:.2f} GiB of main memory at most so far"
    if device.type == "cuda":
        text += f", {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on {torch.cuda.get_device_name(device)}"
    if distributed.world_size() > 1:
        text += f", in each of {distributed.world_size()} processes"
    return text


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

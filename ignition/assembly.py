"""From a recipe and a config to parts: device, data, model, optimizer, schedule."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignition import distributed
from ignition.config import Config
from ignition.data import BatchSampler, EvaluationSampler, Loader, describe
from ignition.handlers.schedules import Constant, Cosine, OneCycle, Warmup
from ignition.loss_terms import LossWeights
from ignition.optimizer import build_optimizer
from ignition.precision import Precision
from ignition.recipe import Recipe, RecipeError, Splits, optional

log = logging.getLogger(__name__)


class AssemblyError(ValueError):
    """Recipe, config and machine do not fit together; says what does not, and what to do."""


def choose_device(name: str) -> torch.device:
    """``auto`` is this process's CUDA device where there is one, else the CPU.

    Raises:
        AssemblyError: a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", distributed.local_rank())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise AssemblyError(f"trainer.device: cannot compute on '{name}': {first}") from error
    return device


def ask(recipe: Recipe, part: str, *arguments: Any) -> Any:
    """Call a part of the recipe; what a user can cause there (files, settings) comes back as one clear error.

    Raises:
        AssemblyError: the part raised ValueError or OSError.
    """
    try:
        return getattr(recipe, part)(*arguments)
    except RecipeError:
        raise
    except (ValueError, OSError) as error:
        raise AssemblyError(str(error)) from error


def build_splits(recipe: Recipe, *, training: bool = True) -> Splits:
    """The recipe's datasets, made where they are functions; without ``training`` only the validation data is.

    Raises:
        AssemblyError: data cannot be read or a split is empty.
    """
    splits = ask(recipe, "datasets")
    if not isinstance(splits, Splits):
        raise AssemblyError(f"datasets() must return ignition.recipe.Splits, and returned {type(splits).__name__}")
    val = _made(splits.val, "val")
    if not training:
        return Splits(train=None, val=val)
    others = {name: _made(dataset, name) for name, dataset in splits.others.items()}
    test = _made(splits.test, "test") if splits.test is not None else None
    return Splits(train=_made(splits.train, "train"), val=val, test=test, others=others)


def _made(dataset: Any, split: str) -> Any:
    """The dataset itself, where a function that makes it was given."""
    try:
        dataset = dataset if hasattr(dataset, "__getitem__") else dataset()
    except (ValueError, OSError) as error:
        raise AssemblyError(f"data.{split}: {error}") from error
    if len(dataset) == 0:
        raise AssemblyError(f"data.{split}: the {split} data is empty: {describe(dataset)} has no samples")
    return dataset


@dataclass(frozen=True)
class TrainingData:
    """The training loader, and the sampler that says where in the order it stands."""

    loader: Loader
    sampler: BatchSampler


def training_data(recipe: Recipe, config: Config, dataset: Any, device: torch.device) -> TrainingData:
    """The loader of the training split; each process takes its share of every batch.

    Raises:
        AssemblyError: the batch cannot be shared out evenly, or the data is smaller than the number of processes.
    """
    world, settings = distributed.world_size(), config.data
    if settings.batch_size % world:
        raise AssemblyError(
            f"data.batch_size is {settings.batch_size}, over all processes, and there are {world}: "
            f"make it a multiple, for instance data.batch_size={-(-settings.batch_size // world) * world}"
        )
    sampler = BatchSampler(len(dataset), settings.batch_size, seed=config.trainer.seed,
                           rank=distributed.rank(), world_size=world)  # fmt: skip
    if len(sampler) == 0:
        raise AssemblyError(f"data.train: {len(dataset)} samples are too few for {world} processes")
    loader = Loader(
        dataset,
        sampler,
        seed=config.trainer.seed,
        workers=settings.workers,
        collate=optional(recipe, "collate"),
        split="train",
        pin_memory=device.type == "cuda",
    )
    return TrainingData(loader, sampler)


def evaluation_loader(recipe: Recipe, config: Config, dataset: Any, device: torch.device, split: str) -> Loader:
    """A loader that gives each process its share of ``dataset``, every sample once.

    Raises:
        AssemblyError: fewer samples than processes.
    """
    world = distributed.world_size()
    if len(dataset) < world:
        raise AssemblyError(f"data.{split}: {len(dataset)} samples are too few for {world} processes")
    batch_size = config.data.eval_batch_size or max(config.data.batch_size // world, 1)
    return Loader(
        dataset,
        EvaluationSampler(len(dataset), batch_size, rank=distributed.rank(), world_size=world),
        seed=config.trainer.seed,
        workers=config.data.workers,
        collate=optional(recipe, "collate"),
        split=split,
        pin_memory=device.type == "cuda",
    )


def build_model(recipe: Recipe, config: Config, precision: Precision) -> nn.Module:
    """The recipe's model, initialised from the run's seed, on the device, in the layout asked for.

    Raises:
        AssemblyError: the recipe cannot build it (settings, a file with weights).
    """
    torch.manual_seed(config.trainer.seed)
    model: nn.Module = ask(recipe, "model").to(precision.device)
    if precision.channels_last:
        for parameter in model.parameters():
            if parameter.ndim == 4:  # weights of 2-D convolutions; `Module.to` would stumble over those of 3-D ones
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def over_processes(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is trained: wrapped where many processes share their gradients."""
    if distributed.world_size() == 1:
        return model
    # Said of layers whose gradient is laid out otherwise than its bucket: no fault, and nothing to do about it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def loss_weights(config: Config) -> LossWeights:
    """The config's loss weights; where it names none, every term of the recipe counts 1."""
    if not config.loss:
        return LossWeights()
    weights: dict[str, float | Callable[[float], float]] = {}
    for name, schedule in config.loss.items():
        weights[name] = schedule.value(0.0) if schedule.constant else schedule.value
    return LossWeights(weights)


def optimizer_of(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The config's optimizer over the model's trainable parameters.

    Raises:
        AssemblyError: an unknown class or option, or a group rule that matches nothing.
    """
    settings = config.optimizer
    try:
        return build_optimizer(
            model,
            settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            options=settings.options,
            decay_norms=settings.decay_norms,
            groups=settings.groups,
        )
    except ValueError as error:
        raise AssemblyError(str(error)) from error


def schedule_of(config: Config, epoch_steps: int) -> Callable[[float], float]:
    """The config's learning rate schedule, a factor by optimizer step; an epoch has ``epoch_steps`` of them."""
    settings, total = config.schedule, config.trainer.epochs * epoch_steps
    match settings.name:
        case "one_cycle":
            return OneCycle(
                total,
                warmup_fraction=settings.warmup_fraction,
                start_factor=settings.start_factor,
                final_factor=settings.final_factor,
                anneal=settings.anneal,
            )
        case "cosine":
            return Cosine(
                total,
                warmup_steps=round(settings.warmup_epochs * epoch_steps),
                warmup_start_factor=settings.warmup_start_factor,
                floor_factor=settings.floor_factor,
            )
        case "plateau" if settings.warmup_epochs:
            return Warmup(round(settings.warmup_epochs * epoch_steps))
        case _:
            return Constant()


def load_weights(model: nn.Module, state: dict[str, torch.Tensor], path: Any) -> None:
    """A checkpoint's weights into the recipe's model.

    Raises:
        AssemblyError: they are of another model; names what differs.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise AssemblyError(f"{path}: the weights are of another model: {' '.join(lines[1:4]).strip()}") from error

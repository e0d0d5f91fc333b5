"""The recipe's data as loaders, each process its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from ignition import distributed
from ignition.assembly.recipe_parts import AssemblyError, ask
from ignition.config import Config
from ignition.data import BatchSampler, EvaluationSampler, Loader, SkippedSamples, describe
from ignition.recipe import Recipe, Splits, optional


def build_splits(recipe: Recipe, *, training: bool = True) -> Splits:
    """The recipe's datasets, made where they are functions; without ``training`` only the validation data is.

    Raises:
        AssemblyError: data cannot be read, a split is empty, or processes see different numbers of samples.
    """
    splits = ask(recipe, "datasets")
    if not isinstance(splits, Splits):
        raise AssemblyError(f"datasets() must return ignition.recipe.Splits, and returned {type(splits).__name__}")
    val = _made(splits.val, "val")
    if not training:
        return Splits(train=None, val=val)
    others = {name: _made(dataset, name) for name, dataset in splits.others.items()}
    test = _made(splits.test, "test") if splits.test is not None else None
    train = _made(splits.train, "train")
    _check_alike({"train": len(train), "val": len(val)})
    return Splits(train=train, val=val, test=test, others=others)


def _check_alike(own: dict[str, int]) -> None:
    """Refuse data that is not the same for all processes, as on hosts with a disk each: their batches would not be."""
    everybodys = distributed.gather(own)
    for split in own:
        counts = [lengths[split] for lengths in everybodys]
        if len(set(counts)) > 1:
            told = ", ".join(f"{count} on process {rank}" for rank, count in enumerate(counts))
            raise AssemblyError(f"data.{split}: processes see different numbers of samples ({told}): give all the same")


def _made(dataset: Any, split: str) -> Any:
    """The dataset itself, where a function that makes it was given."""
    if isinstance(dataset, DataLoader):
        raise AssemblyError(
            f"data.{split}: datasets() gives a DataLoader; give its dataset: batches, their order and workers are made "
            "here, by data.batch_size, trainer.seed and data.workers"
        )
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
        AssemblyError: the batch cannot be shared out evenly.
    """
    world, settings = distributed.world_size(), config.data
    if settings.batch_size % world:
        raise AssemblyError(
            f"data.batch_size is {settings.batch_size}, over all processes, and there are {world}: "
            f"make it a multiple, for instance data.batch_size={-(-settings.batch_size // world) * world}"
        )
    sampler = BatchSampler(len(dataset), settings.batch_size, seed=config.trainer.seed,
                           rank=distributed.rank(), world_size=world)  # fmt: skip
    loader = Loader(
        dataset,
        sampler,
        seed=config.trainer.seed,
        workers=settings.workers,
        collate=optional(recipe, "collate"),
        split="train",
        pin_memory=device.type == "cuda",
        timeout_seconds=config.data.timeout_seconds,
        skipped=SkippedSamples("train", len(dataset), replace=True) if settings.skip_bad else None,
    )
    return TrainingData(loader, sampler)


def evaluation_loader(
    recipe: Recipe,
    config: Config,
    dataset: Any,
    device: torch.device,
    split: str,
    skipped: SkippedSamples | None = None,
) -> Loader:
    """A loader that gives each process its share of ``dataset``, every sample once; ``skipped`` as `Loader` has it.

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
        timeout_seconds=config.data.timeout_seconds,
        skipped=skipped,
    )

"""Whether the smallest batch of an epoch can be trained on, found out before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from ignition import distributed
from ignition.assembly import AssemblyError
from ignition.data import BadSample, BatchSampler, Loader, SampleKey
from ignition.engine import is_too_few
from ignition.recipe import optional
from ignition.restoring import generators_restored, model_restored

if TYPE_CHECKING:
    from ignition.training import Training


def refuse_batches_of_one(training: Training) -> None:
    """Try a sample alone, where an epoch has such a batch and the model normalises over batches.

    Batch normalisation that has one value for each channel to train on is an error, and the last batch of an epoch may
    be one sample: hours into a run.

    Raises:
        AssemblyError: the model cannot be trained on it; names a batch size that has none.
    """
    sampler, micro = training.data.sampler, training.micro_batches.size
    norms = [
        name
        for name, module in training.model.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm)
    ]
    smallest = 1 if micro == 1 else sampler.smallest
    if not norms or smallest > 1 or not _fails(training):
        return
    world, size = distributed.world_size(), sampler.batch_size
    if micro == 1:
        raise AssemblyError(f"trainer.micro_batch is 1, which is too few for batch normalisation in '{norms[0]}'")
    other = _without(sampler)
    raise AssemblyError(
        f"data.batch_size: of {sampler.length} samples in batches of {size}"
        + (f" over {world} processes" if world > 1 else "")
        + f", some batch is one sample, which is too few for batch normalisation in '{norms[0]}': "
        + (f"data.batch_size={other} leaves more" if other else "there have to be more samples")
    )


def _without(sampler: BatchSampler) -> int | None:
    """The nearest batch size with which no process ever has a single sample."""
    world = sampler.world_size
    sizes = range(2 * world, max(sampler.length, sampler.batch_size) + 1, world)
    good = [size for size in sizes if BatchSampler(sampler.length, size, world_size=world).smallest > 1]
    return min(good, key=lambda size: abs(size - sampler.batch_size), default=None)


def _fails(training: Training) -> bool:
    """Whether one sample is too few for the model, in training."""
    step: Any = training.trainer._process_function
    keys: Any = [[SampleKey(0, 0)]]
    loader = Loader(training.splits.train, keys, seed=training.config.trainer.seed, split="train",
                    collate=optional(training.recipe, "collate"), skipped=training.data.loader.skipped)  # fmt: skip
    with generators_restored(), model_restored(training.model), torch.no_grad():
        training.model.train()
        try:
            (batch,) = loader
            batch = step.precision.place(batch)
            if step.augmentation is not None:
                batch = step.augmentation(batch)
            with step.precision.autocast():
                step.losses(training.model, batch, step.first_progress())
        except BadSample:
            return False  # it is told where it is trained on
        except ValueError as error:
            if is_too_few(error):
                return True
            raise
    return False

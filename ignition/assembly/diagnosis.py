"""What looks for trouble in a run, by the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ignition.assembly.known_changes import known_changes_of
from ignition.assembly.optimization import loss_weights
from ignition.config import Config
from ignition.stability import Doctor, RunSettings


def doctor_of(config: Config, *, epoch_length: int, samples: Callable[[int], Sequence[int]]) -> Doctor:
    """What reads the rows of a run.

    Args:
        epoch_length: batches of an epoch.
        samples: gives the dataset indices of an iteration's batch.
    """
    clip, schedule, checkpoint = config.clip, config.schedule, config.checkpoint
    settings = RunSettings(
        learning_rate=config.optimizer.lr,
        max_norm=clip.max_norm if clip.kind == "norm" else 0.0,
        warmup_epochs=getattr(schedule, "warmup_epochs", None),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        half_precision=config.trainer.amp == "fp16",
        weight_decay=config.optimizer.weight_decay,
        weighted=bool(config.loss),
    )
    weights = loss_weights(config)

    def weights_at(iteration: int) -> Mapping[str, float]:
        return weights.at(max(iteration - 1, 0) / epoch_length)

    return Doctor(
        settings,
        metric=checkpoint.metric,
        mode=checkpoint.mode,
        rules=config.stability.rules,
        changes=known_changes_of(config, epoch_length),
        weights=weights_at,
        samples=samples,
    )

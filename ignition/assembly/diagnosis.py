"""What looks for trouble in a run, by the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ignition.assembly.known_changes import known_changes_of
from ignition.assembly.optimization import loss_weights
from ignition.config import Config
from ignition.stability import Doctor, RunSettings


def doctor_of(config: Config, *, samples: Callable[[int], Sequence[int]], epoch_length: int | None = None) -> Doctor:
    """What reads the rows of a run.

    Args:
        samples: gives the dataset indices of an iteration's batch.
        epoch_length: batches of an epoch, by which schedules are known to change something; None: they are not.
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
    weights, constant = loss_weights(config), all(weight.constant for weight in config.loss.values())

    def weights_at(iteration: int) -> Mapping[str, float]:
        return weights.at(max(iteration - 1, 0) / epoch_length if epoch_length else 0.0)

    return Doctor(
        settings,
        metric=checkpoint.metric,
        mode=checkpoint.mode,
        rules=config.stability.rules,
        changes=known_changes_of(config, epoch_length) if epoch_length else None,
        weights=weights_at if epoch_length or constant else None,
        samples=samples,
    )

"""What looks for trouble in a run, by the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ignition.config import Config
from ignition.stability import Doctor, RunSettings


def doctor_of(config: Config, *, samples: Callable[[int], Sequence[int]]) -> Doctor:
    """What reads the rows of a run; ``samples`` gives the dataset indices of an iteration's batch."""
    clip, schedule, checkpoint = config.clip, config.schedule, config.checkpoint
    settings = RunSettings(
        learning_rate=config.optimizer.lr,
        max_norm=clip.max_norm if clip.kind == "norm" else 0.0,
        warmup_epochs=getattr(schedule, "warmup_epochs", None),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        half_precision=config.trainer.amp == "fp16",
    )
    return Doctor(settings, metric=checkpoint.metric, mode=checkpoint.mode, samples=samples)

"""What acts on a run, by the config: plateau, early stopping, time limits, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignition.config import Config
from ignition.handlers.checkpoint import Checkpoint
from ignition.handlers.early_stopping import EarlyStopping
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.non_finite import NonFiniteSteps
from ignition.handlers.plateau import Plateau
from ignition.handlers.time_limit import TimeLimit

# Objects of a checkpoint that a run may gain or lose between two starts, because settings switch them on and off.
CHANGEABLE = (
    "plateau", "early_stop", "ema", "stability", "recovery", "sampler", "time_limit", "job_limit", "guard",
    "loss_weights", "outlier_steps", "layer_statistics", "skipped", "micro_batches", "evaluation_micro_batches",
    *(f"clipping_{kind}" for kind in ("none", "norm", "value", "agc", "autoclip", "zclip")),
)  # fmt: skip


def guard_of(config: Config) -> NonFiniteSteps | None:
    """What keeps values that are not finite out of the weights, unless the config says not to look."""
    settings = config.stability
    if settings.policy == "off":
        return None
    return NonFiniteSteps(policy=settings.policy, max_skips=settings.max_skips)


def plateau_of(config: Config, learning_rate: LearningRate) -> Plateau | None:
    """What lowers the rate where a metric stands still, if that is the schedule."""
    settings = config.schedule
    if settings.name != "plateau":
        return None
    return Plateau(
        learning_rate,
        metric=settings.metric,
        mode=settings.mode,
        factor=settings.factor,
        patience=settings.patience,
        min_lr=settings.min_lr,
        threshold=settings.threshold,
        cooldown=settings.cooldown,
    )


def early_stop_of(config: Config) -> EarlyStopping | None:
    """What ends a run that no longer gets better, if the config asks for it."""
    settings = config.early_stop
    if settings is None:
        return None
    return EarlyStopping(
        settings.metric,
        settings.mode,
        patience=settings.patience,
        min_delta=settings.min_delta,
        relative=settings.relative,
        cumulative=settings.cumulative,
        start=settings.start,
        target=settings.target,
        diverged=settings.diverged,
        unit=settings.unit,
    )


def time_limits_of(config: Config) -> dict[str, TimeLimit]:
    """What ends a run by the clock, under the names of their states."""
    limits = {}
    if config.trainer.max_hours is not None:
        limits["time_limit"] = TimeLimit(config.trainer.max_hours)
    if config.trainer.job_hours is not None:
        limits["job_limit"] = TimeLimit(config.trainer.job_hours, per="job")
    return limits


def checkpoint_of(config: Config, folder: Path, objects: dict[str, Any]) -> Checkpoint:
    """What saves ``objects``; when is said by whom it is attached."""
    settings = config.checkpoint
    return Checkpoint(
        folder,
        objects,
        keep=settings.keep,
        keep_best=settings.keep_best,
        max_failures=settings.max_failures,
        metric=settings.metric,
        mode=settings.mode,
        every_minutes=settings.every_minutes,
        asynchronous=settings.asynchronous,
        safetensors="model" if settings.safetensors else False,
        optional=CHANGEABLE,
    )

"""What acts on a run, by the config: plateau, early stopping, time limits, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from ignition.config import Config
from ignition.handlers.checkpoint import Checkpoint
from ignition.handlers.consensus import Consensus
from ignition.handlers.early_stopping import EarlyStopping
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.plateau import Plateau
from ignition.handlers.recovery import Recovery, Return
from ignition.handlers.stability import Stability, ask_to_stop
from ignition.handlers.time_limit import TimeLimit
from ignition.stability import Doctor, Finding, RunSettings

# Objects of a checkpoint that a run may gain or lose between two starts, because settings switch them on and off.
CHANGEABLE = (
    "plateau", "early_stop", "ema", "stability", "recovery", "sampler", "time_limit", "job_limit",
    *(f"clipping_{kind}" for kind in ("none", "norm", "value", "agc", "autoclip", "zclip")),
)  # fmt: skip


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


def recovery_of(
    config: Config, objects: dict[str, Any], learning_rate: LearningRate, after: Callable[[Engine, Return], object]
) -> Recovery | None:
    """What gives a run earlier weights, if a finding leads to that."""
    settings = config.stability
    if not settings.watch or "rollback" not in settings.on.values():
        return None
    return Recovery(
        objects,
        learning_rate,
        every=settings.snapshot_every,
        cut=settings.cut,
        attempts=settings.attempts,
        after=after,
    )


def stability_of(
    config: Config,
    learning_rate: LearningRate,
    recovery: Recovery | None,
    *,
    tell: Callable[[dict[str, Any]], object],
    samples: Callable[[int], Sequence[int]],
    blame: Callable[[int], Sequence[int]],
) -> Stability | None:
    """What looks for trouble, tells it to ``tell``, and does about it what the config says; None if nothing is to.

    ``samples`` gives the dataset indices of an iteration's batch; ``blame`` counts them as guilty, and gives those that
    are left out from the next epoch on because they were so more than once.
    """
    if not config.stability.watch:
        return None
    clip, schedule = config.clip, config.schedule
    settings = RunSettings(
        learning_rate=config.optimizer.lr,
        max_norm=clip.max_norm if clip.kind == "norm" else 0.0,
        warmup_epochs=getattr(schedule, "warmup_epochs", None),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        half_precision=config.trainer.amp == "fp16",
    )

    def cut_rate(engine: Engine, finding: Finding) -> str:
        lowered = learning_rate.lower(config.stability.cut)
        return f"the learning rate is multiplied by {config.stability.cut:g}" if lowered else "the rate is at its floor"

    def roll_back(engine: Engine, finding: Finding) -> str:
        if recovery is not None:
            recovery.suspect(finding.first)
        Consensus.of(engine).ask("rollback", finding.message)
        guilty = ", ".join(map(str, blame(finding.first)))
        left_out = f"; samples {guilty} are left out from the next epoch on" if guilty else ""
        return f"back to earlier weights{left_out}"

    actions = {"cut_rate": cut_rate, "rollback": roll_back, "stop": ask_to_stop}
    checkpoint = config.checkpoint
    doctor = Doctor(settings, metric=checkpoint.metric, mode=checkpoint.mode, samples=samples)
    return Stability(doctor, policy=config.stability.on, actions=actions, tell=tell)


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
        metric=settings.metric,
        mode=settings.mode,
        every_minutes=settings.every_minutes,
        asynchronous=settings.asynchronous,
        safetensors="model" if settings.safetensors else False,
        optional=CHANGEABLE,
    )

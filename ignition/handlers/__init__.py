"""Handlers for any ignite loop, most of them for plain PyTorch loops too; each is imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignition.handlers.buffer_keeper import BufferKeeper
    from ignition.handlers.checkpoint import Checkpoint
    from ignition.handlers.clipping_rules import AGC, AutoClip, MaxNorm, MaxValue, ZClip
    from ignition.handlers.consensus import Consensus
    from ignition.handlers.early_stopping import EarlyStopping
    from ignition.handlers.ema import EMA
    from ignition.handlers.gradient_clipping import GradientClipping
    from ignition.handlers.improvement import better
    from ignition.handlers.layer_statistics import LayerStatistics
    from ignition.handlers.learning_rate import LearningRate
    from ignition.handlers.learning_rate_finder import LearningRateFinder
    from ignition.handlers.metrics_log import MetricsLog
    from ignition.handlers.mlflow_tracking import MLflow
    from ignition.handlers.non_finite import NonFiniteSteps
    from ignition.handlers.outlier_steps import OutlierSteps
    from ignition.handlers.pictures import Pictures
    from ignition.handlers.plateau import Plateau
    from ignition.handlers.progress import Progress
    from ignition.handlers.random_state import RandomState
    from ignition.handlers.recovery import Recovery
    from ignition.handlers.schedules import (
        Constant,
        Cosine,
        Exponential,
        InSequence,
        OneCycle,
        PerEpoch,
        Polynomial,
        Steps,
        WarmRestarts,
        Warmup,
        simulate,
    )
    from ignition.handlers.signals import Signals
    from ignition.handlers.stability import Stability
    from ignition.handlers.tensorboard import TensorBoard
    from ignition.handlers.term_gradients import TermGradients
    from ignition.handlers.throughput import Throughput
    from ignition.handlers.time_limit import TimeLimit
    from ignition.handlers.unit_activity import UnitActivity
    from ignition.handlers.value_schedule import ValueSchedule
    from ignition.handlers.watched_numbers import WatchedNumbers
    from ignition.handlers.weights_and_biases import WandB

# Where each name lives. Loading them all would cost every import what only one of them needs (TensorBoard: 0.8 s).
_MODULES = {
    "AGC": "clipping_rules",
    "AutoClip": "clipping_rules",
    "BufferKeeper": "buffer_keeper",
    "Checkpoint": "checkpoint",
    "Consensus": "consensus",
    "Constant": "schedules",
    "Cosine": "schedules",
    "EMA": "ema",
    "EarlyStopping": "early_stopping",
    "Exponential": "schedules",
    "GradientClipping": "gradient_clipping",
    "InSequence": "schedules",
    "LayerStatistics": "layer_statistics",
    "LearningRate": "learning_rate",
    "LearningRateFinder": "learning_rate_finder",
    "MLflow": "mlflow_tracking",
    "MaxNorm": "clipping_rules",
    "MaxValue": "clipping_rules",
    "MetricsLog": "metrics_log",
    "NonFiniteSteps": "non_finite",
    "OutlierSteps": "outlier_steps",
    "OneCycle": "schedules",
    "PerEpoch": "schedules",
    "Pictures": "pictures",
    "Plateau": "plateau",
    "Polynomial": "schedules",
    "Progress": "progress",
    "RandomState": "random_state",
    "Recovery": "recovery",
    "Signals": "signals",
    "Stability": "stability",
    "Steps": "schedules",
    "TensorBoard": "tensorboard",
    "TermGradients": "term_gradients",
    "Throughput": "throughput",
    "TimeLimit": "time_limit",
    "UnitActivity": "unit_activity",
    "ValueSchedule": "value_schedule",
    "WandB": "weights_and_biases",
    "WarmRestarts": "schedules",
    "Warmup": "schedules",
    "WatchedNumbers": "watched_numbers",
    "ZClip": "clipping_rules",
    "better": "improvement",
    "simulate": "schedules",
}

__all__ = [
    "AGC",
    "EMA",
    "AutoClip",
    "BufferKeeper",
    "Checkpoint",
    "Consensus",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "Exponential",
    "GradientClipping",
    "InSequence",
    "LayerStatistics",
    "LearningRate",
    "LearningRateFinder",
    "MLflow",
    "MaxNorm",
    "MaxValue",
    "MetricsLog",
    "NonFiniteSteps",
    "OneCycle",
    "OutlierSteps",
    "PerEpoch",
    "Pictures",
    "Plateau",
    "Polynomial",
    "Progress",
    "RandomState",
    "Recovery",
    "Signals",
    "Stability",
    "Steps",
    "TensorBoard",
    "TermGradients",
    "Throughput",
    "TimeLimit",
    "UnitActivity",
    "ValueSchedule",
    "WandB",
    "WarmRestarts",
    "Warmup",
    "WatchedNumbers",
    "ZClip",
    "better",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} (it has: {', '.join(__all__)})")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

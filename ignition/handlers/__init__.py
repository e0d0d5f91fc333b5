"""Handlers for any ignite loop, most of them for plain PyTorch loops too; each is imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignition.handlers.checkpoint import Checkpoint
    from ignition.handlers.early_stopping import EarlyStopping
    from ignition.handlers.gradient_clipping import GradientClipping
    from ignition.handlers.improvement import better
    from ignition.handlers.learning_rate import LearningRate, Plateau
    from ignition.handlers.metrics_log import MetricsLog
    from ignition.handlers.non_finite import NonFiniteSteps
    from ignition.handlers.pictures import Pictures
    from ignition.handlers.progress import Progress
    from ignition.handlers.random_state import RandomState
    from ignition.handlers.schedules import Constant, Cosine, OneCycle, Warmup, simulate
    from ignition.handlers.signals import Signals
    from ignition.handlers.tensorboard import TensorBoard
    from ignition.handlers.watched_numbers import WatchedNumbers

# Where each name lives. Loading them all would cost every import what only one of them needs (TensorBoard: 0.8 s).
_MODULES = {
    "Checkpoint": "checkpoint",
    "Constant": "schedules",
    "Cosine": "schedules",
    "EarlyStopping": "early_stopping",
    "GradientClipping": "gradient_clipping",
    "LearningRate": "learning_rate",
    "MetricsLog": "metrics_log",
    "NonFiniteSteps": "non_finite",
    "OneCycle": "schedules",
    "Pictures": "pictures",
    "Plateau": "learning_rate",
    "Progress": "progress",
    "RandomState": "random_state",
    "Signals": "signals",
    "TensorBoard": "tensorboard",
    "Warmup": "schedules",
    "WatchedNumbers": "watched_numbers",
    "better": "improvement",
    "simulate": "schedules",
}

__all__ = [
    "Checkpoint",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "GradientClipping",
    "LearningRate",
    "MetricsLog",
    "NonFiniteSteps",
    "OneCycle",
    "Pictures",
    "Plateau",
    "Progress",
    "RandomState",
    "Signals",
    "TensorBoard",
    "Warmup",
    "WatchedNumbers",
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

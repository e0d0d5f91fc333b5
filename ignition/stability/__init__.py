"""What goes wrong in a run: numbers in, findings out. Knows no torch; each name is imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignition.stability.absolute import AbsoluteLimits
    from ignition.stability.advice import RunSettings
    from ignition.stability.collapse import Collapse, CollapseRule
    from ignition.stability.data_wait import DataWait
    from ignition.stability.dead_term import DeadTerm
    from ignition.stability.dead_units import DeadUnits, UntouchedParameters
    from ignition.stability.divergence import Divergence
    from ignition.stability.doctor import Doctor
    from ignition.stability.exploding_term import ExplodingTerm
    from ignition.stability.finding import ABOUT_STEPS, NAMES, Advice, Finding
    from ignition.stability.gradient_norm import GradientExplosion, GradientVanishing
    from ignition.stability.known_changes import KnownChanges
    from ignition.stability.learning_rate import LearningRateTooHigh, LearningRateTooLow
    from ignition.stability.loss_spike import LossSpike
    from ignition.stability.loss_terms import LossConflict, LossImbalance
    from ignition.stability.non_finite import NonFinite
    from ignition.stability.non_finite_evaluation import NonFiniteEvaluation
    from ignition.stability.overfitting import Overfitting
    from ignition.stability.plateau import Plateau
    from ignition.stability.quantile_scale import QuantileScale, RecentOutliers
    from ignition.stability.slow_convergence import SlowConvergence
    from ignition.stability.slow_divergence import SlowDivergence
    from ignition.stability.unstable_validation import UnstableValidation
    from ignition.stability.update_ratio import UpdateRatio

# Where each name lives. A config asks for the names of findings alone, and should not wait for numpy.
_MODULES = {
    "ABOUT_STEPS": "finding",
    "AbsoluteLimits": "absolute",
    "Advice": "finding",
    "Collapse": "collapse",
    "CollapseRule": "collapse",
    "DataWait": "data_wait",
    "DeadTerm": "dead_term",
    "DeadUnits": "dead_units",
    "Divergence": "divergence",
    "Doctor": "doctor",
    "ExplodingTerm": "exploding_term",
    "Finding": "finding",
    "GradientExplosion": "gradient_norm",
    "GradientVanishing": "gradient_norm",
    "KnownChanges": "known_changes",
    "LearningRateTooHigh": "learning_rate",
    "LearningRateTooLow": "learning_rate",
    "LossConflict": "loss_terms",
    "LossImbalance": "loss_terms",
    "LossSpike": "loss_spike",
    "NAMES": "finding",
    "NonFinite": "non_finite",
    "NonFiniteEvaluation": "non_finite_evaluation",
    "Overfitting": "overfitting",
    "Plateau": "plateau",
    "QuantileScale": "quantile_scale",
    "RecentOutliers": "quantile_scale",
    "RunSettings": "advice",
    "SlowConvergence": "slow_convergence",
    "SlowDivergence": "slow_divergence",
    "UnstableValidation": "unstable_validation",
    "UntouchedParameters": "dead_units",
    "UpdateRatio": "update_ratio",
}

__all__ = [
    "ABOUT_STEPS",
    "NAMES",
    "AbsoluteLimits",
    "Advice",
    "Collapse",
    "CollapseRule",
    "DataWait",
    "DeadTerm",
    "DeadUnits",
    "Divergence",
    "Doctor",
    "ExplodingTerm",
    "Finding",
    "GradientExplosion",
    "GradientVanishing",
    "KnownChanges",
    "LearningRateTooHigh",
    "LearningRateTooLow",
    "LossConflict",
    "LossImbalance",
    "LossSpike",
    "NonFinite",
    "NonFiniteEvaluation",
    "Overfitting",
    "Plateau",
    "QuantileScale",
    "RecentOutliers",
    "RunSettings",
    "SlowConvergence",
    "SlowDivergence",
    "UnstableValidation",
    "UntouchedParameters",
    "UpdateRatio",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value

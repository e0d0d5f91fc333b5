"""What goes wrong in a run: numbers in, findings out. Knows no torch."""

from ignition.stability.absolute import AbsoluteLimits
from ignition.stability.advice import RunSettings
from ignition.stability.collapse import Collapse, CollapseRule
from ignition.stability.data_wait import DataWait
from ignition.stability.dead_term import DeadTerm
from ignition.stability.dead_units import DeadUnits, UntouchedParameters
from ignition.stability.doctor import Doctor
from ignition.stability.finding import NAMES, Advice, Finding
from ignition.stability.gradient_norm import GradientExplosion, GradientVanishing
from ignition.stability.learning_rate import LearningRateTooHigh, LearningRateTooLow
from ignition.stability.loss_spike import LossSpike
from ignition.stability.loss_terms import LossConflict, LossImbalance
from ignition.stability.non_finite import NonFinite
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.quantile_scale import QuantileScale, RecentOutliers
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.slow_divergence import SlowDivergence
from ignition.stability.unstable_validation import UnstableValidation
from ignition.stability.update_ratio import UpdateRatio

__all__ = [
    "NAMES",
    "AbsoluteLimits",
    "Advice",
    "Collapse",
    "CollapseRule",
    "DataWait",
    "DeadTerm",
    "DeadUnits",
    "Doctor",
    "Finding",
    "GradientExplosion",
    "GradientVanishing",
    "LearningRateTooHigh",
    "LearningRateTooLow",
    "LossConflict",
    "LossImbalance",
    "LossSpike",
    "NonFinite",
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

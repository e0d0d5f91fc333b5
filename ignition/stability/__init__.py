"""What goes wrong in a run: numbers in, findings out. Knows no torch."""

from ignition.stability.advice import RunSettings
from ignition.stability.data_wait import DataWait
from ignition.stability.doctor import Doctor
from ignition.stability.finding import NAMES, Advice, Finding
from ignition.stability.gradient_norm import GradientExplosion, GradientVanishing
from ignition.stability.learning_rate import LearningRateTooHigh, LearningRateTooLow
from ignition.stability.loss_spike import LossSpike
from ignition.stability.non_finite import NonFinite
from ignition.stability.quantile_scale import QuantileScale, RecentOutliers
from ignition.stability.slow_divergence import SlowDivergence
from ignition.stability.update_ratio import UpdateRatio

__all__ = [
    "NAMES",
    "Advice",
    "DataWait",
    "Doctor",
    "Finding",
    "GradientExplosion",
    "GradientVanishing",
    "LearningRateTooHigh",
    "LearningRateTooLow",
    "LossSpike",
    "NonFinite",
    "QuantileScale",
    "RecentOutliers",
    "RunSettings",
    "SlowDivergence",
    "UpdateRatio",
]

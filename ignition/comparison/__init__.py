"""What several runs say beside each other: figures, configs, and whether a difference is more than chance."""

from ignition.comparison.comparison import Comparison
from ignition.comparison.figures import UnknownFigure, figure, known_figures
from ignition.comparison.groups import Group, grouped
from ignition.comparison.run_summary import ComparisonError, RunSummary

__all__ = [
    "Comparison",
    "ComparisonError",
    "Group",
    "RunSummary",
    "UnknownFigure",
    "figure",
    "grouped",
    "known_figures",
]

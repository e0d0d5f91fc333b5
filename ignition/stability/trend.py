"""Slopes and trends of short series, in which one value may be far off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def theil_sen(places: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope of a line, as the median of the slopes of all pairs (Theil, 1950; Sen, 1968), and its standard error.

    The error is the one of least squares, from what remains beside that line.

    >>> theil_sen([0, 1, 2, 3, 4], [9.0, 7.0, 5.0, 3.0, 1.0])
    (-2.0, 0.0)
    """
    x, y = np.asarray(places, float), np.asarray(values, float)
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    rest = y - slope * x
    rest -= np.median(rest)
    centred = x - x.mean()
    return slope, math.sqrt(float(rest @ rest) / max(len(x) - 2, 1) / float(centred @ centred))


def around_line(places: Sequence[float], values: Sequence[float]) -> float:
    """Standard deviation of values around their line of least squares.

    >>> round(around_line([0, 1, 2, 3], [0.0, 2.0, 0.0, 2.0]), 4)
    0.8944
    """
    x, y = np.asarray(places, float), np.asarray(values, float)
    x, y = x - x.mean(), y - y.mean()
    rest = y - x * float(x @ y) / float(x @ x)
    return math.sqrt(float(rest @ rest) / len(y))


def mann_kendall(values: Sequence[float]) -> float:
    """How much values rise, in standard deviations of what values without a trend do (Mann, 1945; Kendall, 1975).

    ``(S - sign S) / sqrt(n (n - 1) (2n + 5) / 18)``, where S is the number of pairs that rise less those that fall.

    >>> round(mann_kendall([1.0, 1.1, 1.3, 1.2, 1.5, 1.6]), 2), mann_kendall([1.0, 1.0])
    (2.25, 0.0)
    """
    y = np.asarray(values, float)
    first, second = np.triu_indices(len(y), 1)
    score = float(np.sign(y[second] - y[first]).sum())
    if score == 0:
        return 0.0
    count = len(y)
    return (score - math.copysign(1.0, score)) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)

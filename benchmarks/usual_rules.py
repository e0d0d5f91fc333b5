"""The rules that people use, asked as our detectors are: `update(iteration, value)` is true when a finding begins."""

from __future__ import annotations

import math
from collections import deque

import numpy as np


class _Alarm:
    """True once when a score passes ``limit``, and again only after it has been below half of that."""

    def __init__(self, limit: float):
        self.limit, self.active = limit, False

    def begins(self, score: float) -> bool:
        begins = score > self.limit and not self.active
        self.active = score > self.limit or (self.active and score > 0.5 * self.limit)
        return begins


class RollingZ:
    """(x - mean) / deviation of the last values, as in OLMo-core's SkipStepOptimizer: 128 values, 6 deviations."""

    def __init__(self, limit: float = 6.0, window: int = 128):
        self._alarm, self._window = _Alarm(limit), window
        self._values: deque[float] = deque(maxlen=window)
        self._sum = self._squares = 0.0
        self._origin: float | None = None  # sums are of values less the first one, for their precision

    def update(self, iteration: int, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self._origin is None:
            self._origin = value
        x, count = value - self._origin, len(self._values)
        begins = False
        if count >= self._window // 2:
            mean = self._sum / count
            deviation = math.sqrt(max((self._squares - count * mean * mean) / (count - 1), 0.0))
            begins = self._alarm.begins((x - mean) / deviation if deviation else 0.0)
        if count == self._window:
            oldest = self._values[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._values.append(x)
        self._sum += x
        self._squares += x * x
        return begins


class ExponentialZ:
    """The same by exponential averages; ZClip (2025): 0.97, 2.5 deviations, 25 values of warm-up, updated clipped."""

    def __init__(self, limit: float = 2.5, alpha: float = 0.97, warmup: int = 25):
        self._alarm, self._limit, self._alpha, self._warmup = _Alarm(limit), limit, alpha, warmup
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def update(self, iteration: int, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if len(self._first) < self._warmup:
            self._first.append(value)
            self._mean, self._variance = float(np.mean(self._first)), float(np.var(self._first))
            return False
        deviation = math.sqrt(self._variance)
        score = (value - self._mean) / deviation if deviation else 0.0
        begins = self._alarm.begins(score)
        taken = self._mean + self._limit**2 / score * deviation if score > self._limit else value
        self._mean = self._alpha * self._mean + (1 - self._alpha) * taken
        self._variance = self._alpha * self._variance + (1 - self._alpha) * (taken - self._mean) ** 2
        return begins


class MadScore:
    """(x - median) / (1.4826 MAD) of the last 64 values (Iglewicz & Hoaglin, 1993, with a limit of 8)."""

    def __init__(self, limit: float = 8.0, window: int = 64):
        self._alarm = _Alarm(limit)
        self._values: deque[float] = deque(maxlen=window)

    def update(self, iteration: int, value: float) -> bool:
        if not math.isfinite(value):
            return False
        begins = False
        if 2 * len(self._values) >= (self._values.maxlen or 0):
            values = np.array(self._values)
            median = np.median(values)
            deviation = 1.4826 * np.median(np.abs(values - median))
            begins = self._alarm.begins(float((value - median) / deviation) if deviation else 0.0)
        self._values.append(value)
        return begins


class Patience:
    """No mean of 10 values below the best by a ten-thousandth, ten times in a row: ReduceLROnPlateau on a step loss."""

    def __init__(self, patience: int = 10, block: int = 10, threshold: float = 1e-4):
        self._patience, self._block, self._threshold = patience, block, threshold
        self._values: list[float] = []
        self._best, self._waited = math.inf, 0

    def update(self, iteration: int, value: float) -> bool:
        if not math.isfinite(value):
            return False
        self._values.append(value)
        if len(self._values) < self._block:
            return False
        mean = sum(self._values) / self._block
        self._values = []
        if math.isinf(self._best) or mean < self._best - self._threshold * abs(self._best):
            self._best, self._waited = mean, 0
            return False
        self._waited += 1
        return self._waited == self._patience + 1

"""Faults put into healthy curves at a known place."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

BEFORE = 200  # healthy values before a fault, at least
AFTER = 150  # values from the fault on

Change = Callable[[np.ndarray, "Place"], np.ndarray]


@dataclass(frozen=True)
class Place:
    """Where a fault begins.

    Attributes:
        onset: its place in the segment.
        sigma: standard deviation of the 128 values before it, from a running median over 33.
        robust_sigma: the same from the median absolute deviation, smaller where the noise is skewed or has two modes.
        level: the running median of the values from the onset on, [AFTER].
    """

    onset: int
    sigma: float
    robust_sigma: float
    level: np.ndarray


def places(loss: np.ndarray, name: str, count: int) -> Iterator[Place]:
    """``count`` places in a segment, by chance, the same ones each time; none if it is too short."""
    if len(loss) < BEFORE + AFTER:
        return
    level = median_filter(loss, size=33, mode="nearest")
    random = np.random.default_rng(zlib.crc32(name.encode()))
    for onset in sorted(random.integers(BEFORE, len(loss) - AFTER + 1, size=count)):
        noise = (loss - level)[onset - 128 : onset]
        robust = 1.4826 * np.median(np.abs(noise - np.median(noise)))
        yield Place(int(onset), float(noise.std()), float(robust), level[onset : onset + AFTER])


TIME = np.arange(AFTER)


def _spike(sigmas: float, *, robust: bool = False) -> Change:
    return lambda x, at: x + sigmas * (at.robust_sigma if robust else at.sigma) * (TIME == 0)


def _divergence(constant: float, *, robust: bool = False) -> Change:
    growth = np.minimum(np.expm1(TIME / constant), 1e3)
    return lambda x, at: x + growth * (at.robust_sigma if robust else at.sigma)


# Name: what becomes of the values [AFTER] from the onset on.
FAULTS: dict[str, Change] = {
    "spike of 20 σ": _spike(20),
    "spike of 20 robust σ": _spike(20, robust=True),
    "spike of 12 σ": _spike(12),
    "spike of 8 σ": _spike(8),
    "spike of 20 σ that decays (10 values)": lambda x, at: x + 20 * at.sigma * np.exp(-TIME / 10),
    "loss doubled, decays (20 values)": lambda x, at: x * (1 + np.exp(-TIME / 20)),
    "three spikes of 20 σ in 40 values, the third": lambda x, at: x + 20 * at.sigma * ((TIME % 20 == 0) & (TIME <= 40)),
    "slow divergence, σ (exp(t/30) - 1)": _divergence(30),
    "the same in robust σ": _divergence(30, robust=True),
    "divergence, σ (exp(t/10) - 1)": _divergence(10),
    "level 3 σ higher": lambda x, at: x + 3 * at.sigma,
    "drift, σ t/20": lambda x, at: x + at.sigma * TIME / 20,
    "drift, σ t/100": lambda x, at: x + at.sigma * TIME / 100,
    "noise grows, 1 + t/30": lambda x, at: at.level + (x - at.level) * (1 + TIME / 30),
    "oscillation of 4 σ": lambda x, at: x + 4 * at.sigma * np.sin(2 * np.pi * TIME / 8) * np.minimum(1, TIME / 30),
    "frozen": lambda x, at: np.full_like(x, x[0]),
}
# Where it is not the onset that is to be found: values after it.
LATER = {"three spikes of 20 σ in 40 values, the third": 40}

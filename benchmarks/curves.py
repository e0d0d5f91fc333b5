"""Real training curves: reading them, and which of them count as healthy.

A healthy segment is decided by these rules, which know nothing of any detector and look at both sides of a value:

1. at least 300 finite values, logged at one spacing;
2. the last validation loss of its run is within 5 % of the run's lowest, all of them are finite, and it is at most 1.5
   times the best one of its workload: the run has learned something and kept it;
3. after its first tenth no value gives back half of what the loss had gained by then, with five deviations of the
   segment's noise granted, and its last level is within a tenth of the gain (and the noise) of the lowest one. Level is
   the median over 33 values, noise 1.4826 times the median absolute deviation from it.

Rule 3 is coarse on purpose: smaller true spikes stay in, and count as false alarms.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.ndimage import median_filter

LEAST_VALUES = 300
CURVES = Path(__file__).resolve().parents[2] / "shared" / "data" / "curves"


@dataclass(frozen=True, eq=False)
class Segment:
    """Losses [values] of a part of a run that was logged at one spacing, and gradient norms where there are any."""

    run: str
    optimizer: str
    workload: str
    step: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray | None
    ended_low: bool
    learned: bool

    @property
    def ended_well(self) -> bool:
        """Rule 2."""
        return self.ended_low and self.learned

    @property
    def healthy(self) -> bool:
        """All three rules."""
        return self.ended_well and self.whole and calm(self.loss)

    @property
    def whole(self) -> bool:
        """Rule 1."""
        return len(self.loss) >= LEAST_VALUES and bool(np.isfinite(self.loss).all())

    @property
    def for_tuning(self) -> bool:
        """Whether settings were chosen on it; the rest is of other optimizers."""
        return self.optimizer in ("baseline", "2024-06-06_AdamW", "2024-10-20_ScaleUp1B")


def calm(loss: np.ndarray) -> bool:
    """Rule 3, for finite losses [values]."""
    level = median_filter(loss, size=33, mode="nearest")
    lowest = np.minimum.accumulate(level)
    granted = 5 * 1.4826 * np.median(np.abs(loss - level))
    gain, after = loss[0] - lowest, len(loss) // 10
    gives_back = loss - lowest > 0.5 * gain + granted
    return not gives_back[after:].any() and bool(level[-1] - lowest[-1] <= 0.1 * gain[-1] + granted)


def read(folder: Path = CURVES) -> list[Segment]:
    """All segments, healthy or not; of curves that are there twice one is taken."""
    validation, best = _validation(folder)
    segments, seen = [], set()
    for source in ("algoperf", "modded_nanogpt"):
        for row in _rows(folder / source / "steps.jsonl.gz"):
            step, loss = np.array(row["step"]), _numbers(row["loss"])
            if loss.tobytes() in seen:
                continue
            seen.add(loss.tobytes())
            optimizer, workload = _named(row["id"])
            checked = validation.get(row["id"]) if source == "algoperf" else _numbers(row["val"][1])
            low = checked is not None and len(checked) > 0 and bool(checked[-1] <= 1.05 * np.min(checked))
            learned = low and bool(checked[-1] <= 1.5 * best.get(workload, np.inf))
            norm = _numbers(row["grad_norm"]) if row.get("grad_norm") else None
            for part in _spaced_alike(step):
                norms = None if norm is None else norm[part]
                segments.append(Segment(row["id"], optimizer, workload, step[part], loss[part], norms, low, learned))
    return segments


def _validation(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Validation losses by run, and by workload the lowest with which a run has ended."""
    losses, best = {}, {}
    for row in _rows(folder / "algoperf" / "evals.jsonl.gz"):
        for name in ("validation/loss", "validation/ctc_loss"):
            if row["metrics"].get(name, ([], []))[1]:
                losses[row["id"]] = _numbers(row["metrics"][name][1])
    for run, values in losses.items():
        workload = _named(run)[1]
        if np.isfinite(values[-1]):
            best[workload] = min(best.get(workload, np.inf), values[-1])
    return losses, best


def _named(run: str) -> tuple[str, str]:
    """Optimizer and workload of a run."""
    first, second, third = run.split("/")[:3]
    return (second, "nanogpt") if first == "track_1_short" else (first, third.rsplit("_", 1)[0])


def _rows(file: Path) -> Iterator[dict]:
    with gzip.open(file, "rt") as lines:
        yield from map(json.loads, lines)


def _numbers(values: list) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in values])


def _spaced_alike(step: np.ndarray) -> Iterator[slice]:
    """Parts of at least 50 values between which the spacing changes, or the steps begin anew."""
    spacing = np.diff(step)
    borders = [0, *(np.flatnonzero(np.diff(spacing)) + 1), len(spacing)]
    for begin, end in pairwise(borders):
        if end > begin and spacing[begin] > 0 and end - begin + 1 >= 50:
            yield slice(begin, end + 1)

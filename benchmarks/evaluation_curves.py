"""Real curves with a value for each evaluation: reading them, and how their runs ended, by rule.

How a run ended is decided by its last values alone:

- *good*: the last validation loss is within 2 % of the run's lowest;
- *overfit*: it is more than 5 % above, and the last training loss is below that at the lowest validation loss;
- *diverging*: it is more than 5 % above, and the training loss has risen as well;
- *between*: the rest.

*Overfit by its target* knows nothing of the validation loss: accuracy, word error rate, average precision, SSIM or
BLEU ends more than 5 % worse than its best, with a training loss lower than it was there. Runs that have learned next
to nothing do not count, since their targets are noise: those whose best target is less than half as good as what a
tenth of the runs of their workload exceed.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CURVES = Path(__file__).resolve().parents[2] / "shared" / "data" / "curves"
# The first that a run has is its target: where objects are rare, accuracy says nothing.
TARGETS = {"mean_average_precision": "max", "wer": "min", "bleu": "max", "ssim": "max", "accuracy": "max"}
RECONSTRUCTED = ("xy", "scale", "rot", "feat")


@dataclass(frozen=True, eq=False)
class Run:
    """Losses [evaluations] of a run, and the target metric where it has one."""

    optimizer: str
    workload: str
    configuration: str  # runs of one differ in their seed alone
    step: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    target: np.ndarray | None
    target_mode: str | None

    @property
    def for_tuning(self) -> bool:
        """Whether settings were chosen on it. The rest has other optimizers."""
        return self.optimizer == "baseline"

    @property
    def end(self) -> str:
        """How it ended: good, overfit, diverging or between."""
        best = int(np.argmin(self.validation))
        excess = self.validation[-1] / self.validation[best] - 1
        if excess <= 0.02:
            return "good"
        if excess <= 0.05:
            return "between"
        return "overfit" if self.training[-1] < self.training[best] else "diverging"

    @property
    def goodness(self) -> np.ndarray | None:
        """The target, more is better [evaluations]; None if there is none for each evaluation."""
        if self.target is None or len(self.target) != len(self.training):
            return None
        return self.target if self.target_mode == "max" else 1 - self.target

    def end_by_target(self, usual: float) -> str:
        """How it ended by the target alone: good, overfit, another; or nothing, if nothing is known or was learned."""
        values = self.goodness
        if values is None or values.max() < 0.5 * usual:
            return ""
        best = int(np.argmax(values))
        target = values if self.target_mode == "max" else 1 - values
        loss = abs(target[best] - target[-1]) / abs(target[best])
        if loss <= 0.02:
            return "good"
        return "overfit" if loss > 0.05 and self.training[-1] < self.training[best] else "another"


def read(folder: Path = CURVES) -> list[Run]:
    """All runs that have a training and a validation loss."""
    runs = []
    with gzip.open(folder / "algoperf" / "evals.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            metrics = row["metrics"]
            loss = "loss" if "validation/loss" in metrics else "ctc_loss"
            name = next((name for name in TARGETS if f"validation/{name}" in metrics), None)
            optimizer, _, workload, trial = row["id"].split("/")
            workload = workload.rsplit("_", 1)[0]
            runs.append(
                Run(
                    optimizer,
                    workload,
                    f"{optimizer}/{workload}/{trial}",
                    np.array(metrics[f"validation/{loss}"][0]),
                    np.array(metrics[f"train/{loss}"][1], float),
                    np.array(metrics[f"validation/{loss}"][1], float),
                    None if name is None else np.array(metrics[f"validation/{name}"][1], float),
                    None if name is None else TARGETS[name],
                )
            )
    return runs


def usual_targets(runs: list[Run]) -> dict[str, float]:
    """The best target in each workload: what a tenth of its runs exceed."""
    best: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.goodness is not None:
            best[run.workload].append(float(run.goodness.max()))
    return defaultdict(float, {workload: float(np.quantile(values, 0.9)) for workload, values in best.items()})


def autoencoders(folder: Path = CURVES) -> dict[str, list[dict[str, float]]]:
    """The rows of the variational autoencoders' runs, an epoch each; what is missing is NaN."""
    runs = {}
    for file in sorted((folder / "gaussvae").glob("*.csv")):
        with file.open() as lines:
            runs[file.stem] = [
                {name: float(text) if text else float("nan") for name, text in row.items()}
                for row in csv.DictReader(lines)
            ]
    return runs

"""The default detection run beside the one as it was before, over several seeds.

``python benchmarks/detection_seeds.py [SEED ...] [key=value ...]`` trains `detection.yaml` and `detection_before.yaml`
once for each seed (0 1 2 if none is given), with the doctor told to keep its hands off, in a folder that is thrown
away, and prints a table. Spikes are those of `ignition.stability.loss_spike`, among the losses of every iteration; a
jump is a loss over the median of the 32 before it.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from ignition.run import main as run
from ignition.stability.loss_spike import LossSpike

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("detection", "detection_before")
BEFORE_JUMP = 32  # losses that a jump is measured from
COLUMNS = ("ap", "ap50", "val loss", "spikes, epoch 1", "spikes", "largest jump", "minutes")


def train(config: str, seed: int, folder: Path, settings: list[str]) -> float:
    """Train a config; gives the minutes it took. A run that diverges is a result too."""
    began = time.perf_counter()
    run([
        str(ROOT / "recipes" / "detection.py"), "--config", str(ROOT / "configs" / f"{config}.yaml"),
        "--output", str(folder), f"trainer.seed={seed}", "stability.watch=false", "logging.tensorboard=false",
        "logging.progress=false", "logging.pictures=0", *settings,
    ])  # fmt: skip
    return (time.perf_counter() - began) / 60


def spikes(losses: list[float]) -> int:
    """How many of ``losses`` the doctor would have called spikes.

    >>> spikes([2.0 + 0.1 * (i % 7) for i in range(64)] + [9.0])
    1
    """
    detector = LossSpike()
    return sum(detector.update(iteration, loss) is not None for iteration, loss in enumerate(losses))


def largest_jump(losses: list[float]) -> float:
    """The most that a loss is times the median of the 32 before it.

    >>> largest_jump([2.0] * 40 + [9.0])
    4.5
    """
    windows = (losses[end - BEFORE_JUMP : end + 1] for end in range(BEFORE_JUMP, len(losses)))
    return max((window[-1] / statistics.median(window[:-1]) for window in windows), default=math.nan)


def scores(folder: Path) -> tuple[float, ...]:
    """The columns of one run but the last, from what it has written."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [(row["epoch"], float(row["train/batch_loss"])) for row in rows if "train/batch_loss" in row]
    losses = [loss for _, loss in steps if math.isfinite(loss)]
    first = [loss for epoch, loss in steps if epoch == 1 and math.isfinite(loss)]
    last = next((row for row in reversed(rows) if "val/ap" in row), {})
    found = (float(last.get(name, math.nan)) for name in ("val/ap", "val/ap50", "val/loss"))
    return (*found, spikes(first), spikes(losses), largest_jump(losses))


def row(name: str, values: tuple[float, ...]) -> str:
    return "| " + " | ".join([name, *(f"{value:.3g}" for value in values)]) + " |"


def main(seeds: list[int], settings: list[str]) -> None:
    table: dict[str, list[tuple[float, ...]]] = {config: [] for config in CONFIGS}
    print("| run | " + " | ".join(COLUMNS) + " |\n" + "|" + "---|" * (len(COLUMNS) + 1))
    with tempfile.TemporaryDirectory(prefix="detection-seeds-") as place:
        for seed in seeds:
            for config in CONFIGS:
                folder = Path(place) / f"{config}-{seed}"
                minutes = train(config, seed, folder, settings)
                table[config].append((*scores(folder), minutes))
                print(row(f"`{config}`, seed {seed}", table[config][-1]), flush=True)
    for config, rows in table.items():
        print(row(f"`{config}`, mean", tuple(statistics.fmean(column) for column in zip(*rows))))


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [int(word) for word in words if word.isdigit()]
    main(numbers or [0, 1, 2], [word for word in words if not word.isdigit()])

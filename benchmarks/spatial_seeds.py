"""How steady the default config of the spatial recipe is, beside the one it was made from, over several seeds.

``python benchmarks/spatial_seeds.py [SEEDS] [key=value ...]`` trains `spatial` and `spatial_before` with each seed, in
a folder that is thrown away, and prints a table: a row a run, and the means over the seeds.

- ``std``: the standard deviation of the last five validation losses (`LAST`).
- ``improvement``: the mean training loss of the first epoch less that of the last.
- ``gap``: the validation loss less the mean training loss, at the last epoch.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from ignition.run import main as run

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("spatial", "spatial_before")
LAST = 5  # evaluations


def figures(folder: Path) -> dict[str, float]:
    """What the table shows of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    training = [row["train/epoch_avg_loss"] for row in rows if "train/epoch_avg_loss" in row]
    evaluations = [row for row in rows if "val/loss" in row]
    losses, last = [row["val/loss"] for row in evaluations], evaluations[-1]
    found = {
        "epochs": float(len(training)),
        "std": statistics.pstdev(losses[-LAST:]),
        "improvement": training[0] - training[-1],
        "gap": losses[-1] - training[-1],
        "val/loss": losses[-1],
        "pearson": last["val/pearson"],
    }
    return found | {name: last[name] for name in last if name.startswith("val/pearson/")}


def train(config: str, seed: int, folder: Path, settings: list[str]) -> float:
    """Train a config with a seed; gives the minutes it took."""
    began = time.perf_counter()
    words = [
        str(ROOT / "recipes" / "spatial.py"), "--config", str(ROOT / "configs" / f"{config}.yaml"),
        "--output", str(folder),
        f"trainer.seed={seed}", "logging.tensorboard=false", "logging.progress=false", "logging.pictures=0", *settings,
    ]  # fmt: skip
    with redirect_stdout(sys.stderr):  # its own table; the one that is asked for comes at the end
        ended = run(words)
    if ended != 0:
        sys.exit(f"{config} with seed {seed} failed")
    return (time.perf_counter() - began) / 60


def row(name: str, found: dict[str, float]) -> str:
    return "| " + " | ".join([name, *(f"{value:.3g}" for value in found.values())]) + " |"


def main(seeds: int, settings: list[str]) -> None:
    lines: list[str] = []
    columns: list[str] = []
    with tempfile.TemporaryDirectory(prefix="spatial-seeds-") as place:
        for config in CONFIGS:
            runs = []
            for seed in range(seeds):
                folder = Path(place) / f"{config}-{seed}"
                minutes = train(config, seed, folder, settings)
                runs.append({**figures(folder), "minutes": minutes})
                lines.append(row(f"`{config}`, seed {seed}", runs[-1]))
                print(lines[-1], flush=True)
            columns = [name.removeprefix("val/pearson/") for name in runs[0]]
            means = {name: statistics.mean(found[name] for found in runs) for name in runs[0]}
            lines.append(row(f"`{config}`, mean", means))
    print("\n| " + " | ".join(["run", *columns]) + " |")
    print("|" + "---|" * (len(columns) + 1))
    print("\n".join(lines))


if __name__ == "__main__":
    number = [word for word in sys.argv[1:] if word.isdigit()]
    main(int(number[0]) if number else 5, [word for word in sys.argv[1:] if not word.isdigit()])

"""A recipe broken on purpose beside healthy twins: what the doctor says of each, and after how many iterations.

Short trainings of the depth recipe, on smaller crops than its config has, about a minute of one core each. What is
broken is a setting, or a fault of `ignition.drill`.

    python benchmarks/broken_recipes.py OUTPUT [--seeds 2] [--at-once 2]

A run that is there already is not run again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = "recipes/depth.py"
SHORT = [
    "trainer.epochs=8", "data.batch_size=4", "recipe.train_samples=320", "recipe.val_samples=16",
    "recipe.crop_height=64", "recipe.crop_width=192", "trainer.threads=1",
    "logging.progress=false", "logging.tensorboard=false", "logging.pictures=0",
    "stability.on={divergence: tell, exploding_term: tell}",
]  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """What is different from the healthy twin, and by which of its findings it counts as found."""

    settings: tuple[str, ...] = ()
    fault: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()


RUNS = {
    "healthy": Broken(),
    "healthy, half the rate": Broken(("optimizer.lr=1e-3",)),
    "healthy, cosine with a warm-up": Broken(("schedule={name: cosine, warmup_epochs: 0.5}",)),
    "rate x 30": Broken(
        ("optimizer.lr=6e-2",), wanted=("learning_rate_too_high", "divergence", "dead_units", "update_ratio")
    ),
    "rate x 30, no clipping, no warm-up": Broken(
        ("optimizer.lr=6e-2", "clip.kind=none", "schedule={name: constant, warmup_epochs: 0}"),
        wanted=("learning_rate_too_high", "divergence", "dead_units", "update_ratio", "non_finite"),
    ),
    "no warm-up": Broken(("schedule={name: cosine, warmup_epochs: 0}",), wanted=("learning_rate_too_high",)),
    "rate x 1/1000": Broken(("optimizer.lr=2e-6",), wanted=("learning_rate_too_low", "slow_convergence", "plateau")),
    "a NaN sample": Broken(fault=("nan_batch",), wanted=("non_finite",)),
    "labels x 50 in one batch": Broken(fault=("corrupt_labels",), wanted=("loss_spike",)),
    "labels x 50 in 100 batches": Broken(
        fault=("corrupt_labels", "--steps", "100"), wanted=("loss_spike", "slow_divergence", "divergence")
    ),
    "the main term weighted 1/1000": Broken(
        ("loss.disparity=1e-3", "loss.smooth=1.0"), wanted=("loss_imbalance", "dead_term", "collapse")
    ),
}


def run(name: str, seed: int, output: Path) -> Path:
    """Train, unless that was done; the folder."""
    broken = RUNS[name]
    folder = output / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
    status = folder / "status.json"
    if status.is_file() and json.loads(status.read_text())["status"] in ("finished", "diverged"):
        return folder
    command = ["ignition.drill", "--fault", *broken.fault] if broken.fault else ["ignition.run"]
    words = [*command, RECIPE, "--output", str(folder), *SHORT, *broken.settings, f"trainer.seed={seed}"]
    with open(folder.with_suffix(".log"), "w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", *words], env=environment, stdout=log, stderr=log, check=False)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def found(folder: Path) -> dict[str, int]:
    """The warnings of a run and how often each was given, with the iteration of the first: in its order."""
    first: dict[str, int] = {}
    for row in rows(folder / "incidents.jsonl"):
        if row["severity"] != "info":
            first.setdefault(row["name"], row["iteration"])
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tasks = [(name, seed) for seed in range(options.seeds) for name in RUNS]
    with ThreadPoolExecutor(options.at_once) as pool:
        folders = dict(zip(tasks, pool.map(lambda task: run(*task, options.output), tasks), strict=True))
    print("| run | found | warnings, by the iteration at which they were given |")
    print("|---|---|---|")
    for name, broken in RUNS.items():
        findings = [found(folders[name, seed]) for seed in range(options.seeds)]
        hits = sum(any(wanted in each for wanted in broken.wanted) for each in findings)
        told = "; ".join(", ".join(f"`{key}` {place}" for key, place in each.items()) or "none" for each in findings)
        share = f"{hits} of {options.seeds}" if broken.wanted else "–"
        print(f"| {name} | {share} | {told} |")


if __name__ == "__main__":
    main()

"""What becomes of a real training when something goes wrong in it: clean, with the doctor, and without.

Each fault of `ignition.drill` is put into a recipe's own training at 40 % of the run, for several seeds, in three ways:

- *doctor*: the config as it is shipped;
- *usual*: the same without the doctor (``stability.watch=false``), gradients clipped and steps that are not finite left
  out, as the config says;
- *bare*: nothing of that, a plain training loop.

And the clean runs once more on two threads in place of one, which changes nothing but the last bit of sums: a
difference that is no larger than theirs says nothing.

A run that is there already, by its folder, is not run again, so it can be interrupted. A run of the default depth
recipe takes three to four minutes of one core.

    python benchmarks/fault_drills.py OUTPUT [--recipe recipes/depth.py] [--metric val/epe] [--seeds 3] [--at-once 2]
        [--picture FILE.png] [key=value ...]

Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

AT = 0.4
FAULTS = {
    "nan_batch": ("a batch with a NaN sample", ["--fault", "nan_batch"]),
    "nan_labels": ("a batch whose labels are NaN", ["--fault", "corrupt_labels", "--size", "nan"]),
    "corrupt_labels": ("a batch whose labels are 50 times too large", ["--fault", "corrupt_labels"]),
    "rate_jump": ("learning rate times 100, from there on", ["--fault", "rate_jump"]),
    "exploding_term": ("a loss term exp(-100 v) sets in", ["--fault", "exploding_term"]),
}
WAYS = {
    "doctor": [],
    "usual": ["stability.watch=false"],
    "bare": ["stability.watch=false", "stability.policy=off", "clip.kind=none"],
}
ROUNDING = ["trainer.threads=2"]  # sums come out otherwise in the last bit: how far two runs of one seed may lie apart
QUIET = ["logging.progress=false", "logging.tensorboard=false", "logging.pictures=0", "trainer.threads=1"]


@dataclass(frozen=True)
class Drill:
    """One run: a fault, or ``clean``, one of `WAYS`, and a seed."""

    fault: str
    way: str
    seed: int

    def folder(self, output: Path) -> Path:
        return output / f"{self.fault}-{self.way}-{self.seed}"

    def run(self, output: Path, recipe: str, settings: list[str]) -> None:
        """Run it, unless that was done."""
        folder = self.folder(output)
        if _status(folder).get("status") in ("finished", "stopped", "diverged"):
            return
        module, fault = ("ignition.run", []) if self.fault == "clean" else ("ignition.drill", FAULTS[self.fault][1])
        at = ["--at", str(AT)] if fault else []
        words = [module, recipe, "--output", str(folder), *fault, *at, *QUIET, *WAYS.get(self.way, ROUNDING), *settings]
        words.append(f"trainer.seed={self.seed}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(folder.with_suffix(".log"), "w") as log:
            subprocess.run([sys.executable, "-m", *words], env=environment, stdout=log, stderr=log, check=False)


def _status(folder: Path) -> dict[str, Any]:
    path = folder / "status.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _last(folder: Path, metric: str) -> float:
    """The metric of the last evaluation; NaN where it was none."""
    values = [float(row[metric]) for row in _rows(folder) if metric in row]
    return values[-1] if values else float("nan")


def _found(folder: Path, begins: int) -> str:
    """What was found first of the fault, how many iterations after it, and what was done."""
    rows = [row for row in _rows(folder, "incidents.jsonl") if row["iteration"] >= begins and row["severity"] != "info"]
    if not rows:
        return "nothing"
    acted = next((row for row in rows if row["done"]), None)
    text = f"`{rows[0]['name']}` after {rows[0]['iteration'] - begins}"
    if acted is not None:
        text += f"; `{acted['name']}` after {acted['iteration'] - begins}: {acted['done'].split(';')[0]}"
    return text


def _begins(folder: Path) -> int:
    """The first iteration with the fault."""
    iterations = max(row["iteration"] for row in _rows(folder))
    return int(AT * iterations) + 1


def table(output: Path, metric: str, drills: list[Drill], seeds: range) -> Iterator[str]:
    """Markdown: the last value of the metric beside that of the clean run with the same seed."""
    clean = {seed: _last(Drill("clean", "doctor", seed).folder(output), metric) for seed in seeds}
    begins = _begins(Drill("clean", "doctor", seeds[0]).folder(output))
    rounded = {seed: _last(Drill("clean", "rounding", seed).folder(output), metric) for seed in seeds}
    average, apart = mean(clean.values()), [rounded[seed] / clean[seed] - 1 for seed in seeds]
    yield f"Clean runs end at {metric} {_listed(clean.values())} (seeds in order), mean {average:.3f}; on two threads,"
    there = [value for value in rounded.values() if not math.isnan(value)]
    yield f"which rounds otherwise and is the same run else, at {_listed(there)}:"
    yield ", ".join(f"{100 * share:+.1f} %" for share in apart if not math.isnan(share)) + "."
    yield ""
    yield (
        "| fault | way | "
        + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean beside clean | found (first seed) |"
    )
    yield "|---|---|" + "---|" * (len(seeds) + 2)
    for fault, (words, _) in FAULTS.items():
        for way in WAYS:
            here = [drill for drill in drills if (drill.fault, drill.way) == (fault, way)]
            done = {drill.seed: drill.folder(output) for drill in here if _status(drill.folder(output)).get("reason")}
            values = {seed: _last(folder, metric) for seed, folder in done.items()}
            if not values:
                continue
            cells = [f"{values[seed]:.3f}" if seed in values else "–" for seed in seeds]
            beside = 100 * (mean(values.values()) / mean(clean[seed] for seed in values) - 1)
            told = "lost" if math.isnan(beside) else f"{beside:+.1f} %"
            found = _found(here[0].folder(output), begins) if way == "doctor" else ""
            yield f"| {words} | {way} | " + " | ".join(cells) + f" | {told} | {found} |"


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def picture(output: Path, metric: str, fault: str, seed: int, file: Path) -> None:
    """The training loss and the metric of one fault's runs, over each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (losses, scores) = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    shown = (
        ("without the fault", "clean", "doctor", "0.6"),
        ("with it, without the doctor", fault, "usual", "#c44e52"),
        ("with both", fault, "doctor", "#4c72b0"),
    )
    for label, kind, way, colour in shown:
        rows = _rows(Drill(kind, way, seed).folder(output))
        steps = [(row["iteration"], float(row["train/batch_loss"])) for row in rows if "train/batch_loss" in row]
        evaluations = [(row["iteration"], float(row[metric])) for row in rows if metric in row]
        losses.plot(*zip(*_smooth(steps), strict=True), color=colour, label=label, linewidth=1.2)
        scores.plot(*zip(*evaluations, strict=True), color=colour, marker="o", label=label)
    begins = _begins(Drill("clean", "doctor", seed).folder(output))
    acted = [row for row in _rows(Drill(fault, "doctor", seed).folder(output), "incidents.jsonl") if row["done"]]
    for axes in (losses, scores):
        axes.axvline(begins, color="0.3", linestyle=":", linewidth=1)
        for row in acted:
            axes.axvline(row["iteration"], color="#4c72b0", linestyle="--", linewidth=1)
        axes.set_xlabel("iteration")
        axes.spines[["top", "right"]].set_visible(False)
    losses.set_yscale("log")
    losses.set_yticks([2, 5, 10], labels=["2", "5", "10"])
    losses.minorticks_off()
    losses.set_title("training loss (running median)", loc="left", fontsize=10)
    scores.set_title(f"{metric}, lower is better", loc="left", fontsize=10)
    losses.legend(frameon=False, loc="lower left")
    figure.savefig(file, dpi=110)


def _smooth(points: list[tuple[int, float]], window: int = 9) -> list[tuple[int, float]]:
    """A running median, where the whole window is there."""
    half = window // 2
    values = [value for _, value in points]
    return [(points[i][0], sorted(values[i - half : i + half + 1])[half]) for i in range(half, len(values) - half)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--recipe", default="recipes/depth.py")
    parser.add_argument("--metric", default="val/epe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="draw this fault's runs: --fault")
    parser.add_argument("--fault", choices=FAULTS, default="rate_jump")
    options = parser.parse_args()
    seeds = range(options.seeds)
    drills = [Drill("clean", way, seed) for seed in seeds for way in ("doctor", "rounding")]
    drills += [Drill(fault, way, seed) for seed in seeds for fault in FAULTS for way in ("doctor", "bare")]
    drills += [Drill(fault, "usual", seeds[0]) for fault in FAULTS]
    options.output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(lambda drill: drill.run(options.output, options.recipe, options.settings), drills))
    for line in table(options.output, options.metric, drills, seeds):
        print(line)
    if options.picture is not None:
        picture(options.output, options.metric, options.fault, seeds[0], options.picture)


if __name__ == "__main__":
    main()

"""What it costs to follow a run with a long log: until the first picture, to read all, to see what is new, in memory.

The log has a row a step as the depth recipe writes them (some 380 bytes), and after every thousandth the rows of an
epoch and of an evaluation. It is measured in a process of its own that does nothing else, with the file in the system's
cache; seconds on the clock, and of the processor in brackets, which counts on a machine that does other things as well.

    python benchmarks/monitor.py [--rows 1000000]

Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCH = 1000


def write_log(path: Path, rows: int, *, begin: int = 1) -> None:
    """Add ``rows`` steps to a log, beginning with the iteration ``begin``."""
    draw = random.Random(begin)
    with path.open("a") as file:
        for i in range(begin, begin + rows):
            loss = 10 * draw.random() / (1 + i / 1e5)
            place = {"time": 1.7953e9 + 0.1 * i, "iteration": i, "epoch": (i - 1) // EPOCH + 1}
            step = {
                "train/epoch": place["epoch"],
                "train/learning_rate": 1e-3 * draw.random(),
                "train/batch_loss": loss,
                "train/loss/disparity": loss,
                "train/loss/smooth": loss * draw.random(),
                "train/loss/silog": loss * draw.random(),
                "train/gradient_norm": 30 * draw.random(),
                "train/clip_threshold": 1.0,
                "train/clipped": 1.0,
            }
            file.write(json.dumps(place | step) + "\n")
            if i % EPOCH == 0:
                file.write(json.dumps(place | {"train/epoch_avg_loss": loss, "learning_rate": 1e-3}) + "\n")
                metrics = {f"val/{name}": loss * draw.random() for name in ("epe", "bad1", "bad2", "d1", "loss")}
                file.write(json.dumps(place | metrics) + "\n")


def follow(folder: Path) -> None:
    """In a process of its own: print what it took, as JSON."""
    import resource

    from ignition.monitor import Watched

    def clock() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def since(before: tuple[float, float]) -> tuple[float, float]:
        return tuple(now - then for now, then in zip(clock(), before))

    def memory() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    told = {"memory before": memory()}
    began = clock()
    watched = Watched(folder)
    watched.update(0.0)
    points = {name: len(watched.curves.points(name)) for name in watched.curves.names()}
    told |= {"first picture": since(began), "points": points["train/batch_loss"], "val points": points["val/epe"]}
    began = clock()
    longest = 0.0
    while watched.state.read < 1:
        one = time.perf_counter()
        watched.update(0.2)
        longest = max(longest, time.perf_counter() - one)
    told |= {"all": since(began), "longest update": longest, "memory": memory()}
    log = watched.run.metrics.path
    write_log(log, 10, begin=int(watched.state.iteration or 0) + 1)
    began = clock()
    watched.update()
    told |= {"ten new rows": since(began), "iteration": watched.state.iteration}
    began = clock()
    watched.update()
    told |= {"nothing new": since(began)}
    print(json.dumps(told))


def main() -> None:
    """Write a log, have it followed, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--follow", type=Path)
    arguments = parser.parse_args()
    if arguments.follow:
        follow(arguments.follow)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_log(folder / "metrics.jsonl", arguments.rows)
        size = (folder / "metrics.jsonl").stat().st_size
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--follow", scratch], capture_output=True, text=True, check=True, timeout=600
        )
        told = json.loads(done.stdout)
        print(f"{arguments.rows} steps, {size / 1e6:.0f} MB; {time.perf_counter() - began:.1f} s in all\n")
    print("| | |\n|---|---|")
    for name, value in told.items():
        text = f"{value[0]:.3f} s ({value[1]:.3f} s)" if isinstance(value, list) else f"{value:.6g}"
        print(f"| {name} | {text} |")


if __name__ == "__main__":
    main()

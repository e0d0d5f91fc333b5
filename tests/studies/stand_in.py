"""In place of `ignition.run`, for tests of who starts it: the same words, run folder, signals and exit codes, no torch.

Its losses follow from seed and rate alone. It saves after each step, and goes on after the last that was saved.
"""

import json
import random
import signal
import sys
import time
from pathlib import Path

from ignition.config import load_config
from ignition.rundir import RunFolder

STEPS = 4  # of an epoch


def main() -> int:
    words = sys.argv[1:]
    recipe, folder = Path(words[0]), Path(words[words.index("--resume") + 1])
    config = load_config(words[words.index("--config") + 1])
    new = not RunFolder.is_run(folder)
    run = RunFolder.create_at(folder) if new else RunFolder.open(folder)
    with run.lock():
        if new:
            run.write_config(config.to_yaml())
            run.write_recipe(recipe)
        return train(run, config)


def train(run, config):
    signals = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, frame: signals.append(got))
    saved = run.checkpoints / "last.json"
    done = json.loads(saved.read_text())["iteration"] if saved.is_file() else 0
    run.rewind_metrics(done or -1)
    epochs, settings = config.trainer.epochs, config.recipe
    place = {"epochs": epochs, "iteration": done, "epoch": done // STEPS}
    run.write_status(status="running", reason="", **place)
    if settings.get("fails"):
        sys.stdout.write(f"cannot read {settings['fails']}\n")
        run.write_status(status="failed", reason=f"cannot read {settings['fails']}", **place)
        return 1
    for iteration in range(done + 1, epochs * STEPS + 1):
        time.sleep(settings.get("slow", 0.0))
        chance = random.Random(f"{config.trainer.seed} {iteration}").gauss(0, 1)
        loss = (1 + 0.1 * chance) / (config.optimizer.lr * iteration)
        epoch = 1 + (iteration - 1) // STEPS
        run.write_metrics({"iteration": iteration, "epoch": epoch, "train/batch_loss": loss})
        if iteration % STEPS == 0:
            row = {"train/epoch_avg_loss": loss, "val/loss": 1.1 * loss, "val/mae": loss**0.5}
            run.write_metrics({"iteration": iteration, "epoch": epoch, **row})
        place |= {"iteration": iteration, "epoch": iteration // STEPS}
        temporary = saved.with_suffix(".tmp")
        temporary.write_text(json.dumps({"iteration": iteration}))
        temporary.replace(saved)
        if signals:
            run.write_status(status="preempted", reason=f"signal {signals[0]}", **place)
            return 128 + signals[0]
        if settings.get("dies_at") == iteration and done < iteration:
            signal.raise_signal(signal.SIGKILL)
    run.write_status(status="finished", reason=f"all {epochs} epochs done", **place)
    return 0


if __name__ == "__main__":
    sys.exit(main())

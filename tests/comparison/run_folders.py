"""Run folders as a training leaves them, written by hand."""

import random
from pathlib import Path

from ignition.config import load_config
from ignition.rundir import RunFolder


def make_run(path, losses, *, settings=(), seed=0, status="finished", reason="all done", rows=(), incidents=()):
    """A run of task ``tiny`` with these validation losses, one an epoch of ten iterations."""
    overrides = ["task=tiny", f"trainer.seed={seed}", f"trainer.epochs={len(losses)}", *settings]
    run = RunFolder.create_at(Path(path))
    run.write_config(load_config(None, overrides=overrides).to_yaml())
    run.write_recipe(Path(__file__))
    run.write_metrics({"iteration": 0, "epoch": 0, "baseline/mae": 2.0})
    for epoch, loss in enumerate(losses, start=1):
        run.write_metrics({"iteration": 10 * epoch, "epoch": epoch, "train/epoch_avg_loss": loss / 2})
        run.write_metrics({"iteration": 10 * epoch, "epoch": epoch, "val/loss": loss, "val/mae": 2 * loss})
    for row in rows:
        run.write_metrics(row)
    for incident in incidents:
        run.write_incident(incident)
    run.write_status(status=status, reason=reason, iteration=10 * len(losses), epoch=len(losses), epochs=len(losses))
    run.close()
    return run


def noisy(level, seed, epochs=6, noise=0.05):
    """Losses that come down to ``level`` with a seed's own chance in them."""
    draw = random.Random(seed)
    return [level * (1 + 2 / epoch) * (1 + noise * draw.gauss(0, 1)) for epoch in range(1, epochs + 1)]

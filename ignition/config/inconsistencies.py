"""Settings that are right each by itself and wrong together."""

from __future__ import annotations

from ignition.config.learning_rate_schedule import misfits
from ignition.config.node import Path
from ignition.config.sections import SNAPSHOTS, Config


def inconsistencies(config: Config) -> list[tuple[Path, str]]:
    """Where they stand, and why they do not go together."""
    found = list(misfits(config.schedule, config.trainer.epochs))
    stability, every = config.stability, config.logging.every
    asked = stability.snapshot_every
    if asked is not None and "rollback" in stability.on.values() and SNAPSHOTS * asked <= every:
        least = every // SNAPSHOTS + 1
        why = f"findings come {every} iterations late (logging.every) and {SNAPSHOTS} snapshots are kept"
        text = f"expected at least {least}, since {why}; found {asked}"
        found.append((("stability", "snapshot_every"), text))
    if "tighten_clip" in stability.on.values() and config.clip.kind not in ("norm", "value", "agc"):
        limits = "norm, value and agc have one"
        text = f"'tighten_clip' needs a limit to lower, and clip.kind is '{config.clip.kind}': {limits}"
        found.append((("stability", "on"), text))
    if config.trainer.parallel == "fsdp2":
        found += _cannot_be_shared_out(config)
    return found


# Optimizers that move each element by its own gradient and moments alone, so that a share of the weights is enough.
ELEMENTWISE = (
    "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
)  # fmt: skip


def _cannot_be_shared_out(config: Config) -> list[tuple[Path, str]]:
    """Settings that do not go with weights that are shared out over processes."""
    trainer, why = config.trainer, "with trainer.parallel: fsdp2"
    found: list[tuple[Path, str]] = []
    if trainer.compile:
        found.append(
            (("trainer", "compile"), f"expected false {why}: it gathers weights in between, where a graph ends")
        )
    if trainer.amp == "fp16":
        found.append((("trainer", "amp"), f"expected bf16 or off {why}: a loss scale is kept by each process alone"))
    if config.optimizer.name not in ELEMENTWISE:
        names = ", ".join(ELEMENTWISE)
        text = f"expected one of {names} {why}: others need whole matrices; found '{config.optimizer.name}'"
        found.append((("optimizer", "name"), text))
    if config.clip.kind == "agc":
        found.append((("clip", "kind"), f"expected another than 'agc' {why}: it needs whole rows and biases"))
    if config.checkpoint.snapshots:
        text = f"expected false {why}: each process has snapshots of its own share, and a checkpoint is one file"
        found.append((("checkpoint", "snapshots"), text))
    if "agc" in config.logging.shadow_clipping:
        found.append((("logging", "shadow_clipping"), f"expected no 'agc' {why}: it needs whole rows and biases"))
    return found

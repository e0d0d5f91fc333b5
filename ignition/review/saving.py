"""Whether a run that is killed leaves something to go on from, and whether the disk holds what it keeps."""

from __future__ import annotations

from collections.abc import Iterator

from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice

FAR = 5000  # batches between two saves: what a kill costs at most
MINUTES = 30


def saved_at_the_end_only(plan: Plan) -> Iterator[Objection]:
    """Saves further apart than the run is long."""
    saves = plan.config.checkpoint
    if plan.epochs == 1 or saves.every_epochs < plan.epochs or saves.every_iterations or saves.every_minutes:
        return
    yield Objection(
        "saved_at_the_end_only",
        "checkpoint.every_epochs",
        f"a save is due every {saves.every_epochs} epochs, and the run has {plan.epochs}",
        "a run that is killed begins again, or at its best evaluation; it counts epochs, not steps",
        "",
        (Advice("checkpoint.every_epochs=1", "one after each epoch"),),
    )


def save_never_due(plan: Plan) -> Iterator[Objection]:
    """A save within epochs that would come after the run's last batch."""
    every, batches = plan.config.checkpoint.every_iterations, plan.epoch_batches
    if every is None or batches is None or every < plan.epochs * batches:
        return
    yield Objection(
        "save_never_due",
        "checkpoint.every_iterations",
        f"a save is due every {every} batches, and the run has {plan.epochs * batches}",
        "it never comes; saves are those of the epochs",
        "",
        (Advice(f"checkpoint.every_iterations={max(plan.epochs * batches // 10, 1)}", "ten of them"),),
    )


def saves_far_apart(plan: Plan) -> Iterator[Objection]:
    """Long epochs, and no save within."""
    saves, batches = plan.config.checkpoint, plan.epoch_batches
    if batches is None or saves.every_iterations or saves.every_minutes or batches * saves.every_epochs <= FAR:
        return
    yield Objection(
        "saves_far_apart",
        "checkpoint.every_minutes",
        f"{batches * saves.every_epochs} batches lie between two saves",
        "a run that is killed does all of them again",
        "",
        (Advice(f"checkpoint.every_minutes={MINUTES}", "a kill then costs no more than that"),),
    )


def disk_too_small(plan: Plan) -> Iterator[Objection]:
    """Less disk than the checkpoints and incident bundles that this run will keep."""
    size, free = plan.facts.checkpoint_bytes, plan.facts.free_bytes
    if size is None or free is None:
        return
    saves, bundles = plan.config.checkpoint, plan.config.stability.bundles
    needed = _files(saves.keep, saves.keep_best, bundles) * size
    if needed <= free:
        return
    least = _files(2, 1, 0)
    smaller = "checkpoint.keep=2 checkpoint.keep_best=1 stability.bundles=0"
    fits = least * size <= free
    yield Objection(
        "disk_too_small",
        "checkpoint.keep",
        f"{needed / size:.0f} files of {_gib(size)} GiB will be kept, {_gib(needed)} in all, and {_gib(free)} are free",
        "once the disk is full nothing more is saved, and a run that is killed goes back to what was",
        "",
        (
            Advice(smaller, f"{least} files, {_gib(least * size)} GiB")
            if fits
            else Advice("", f"--output on a disk with {_gib(least * size)} GiB, and {smaller}"),
        ),
    )


def _files(keep: int, keep_best: int, bundles: int) -> int:
    """Checkpoints at once: those that stay, one that is being written, and one in each bundle of an incident."""
    return keep + keep_best + 1 + bundles


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g}"


RULES = (saved_at_the_end_only, save_never_due, saves_far_apart, disk_too_small)

"""Whether evaluations come in time, and are judged by what there is and the right way round."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice

# Names of metrics of which everybody knows which way is better.
HIGHER = frozenset(
    {"ap", "ap50", "ap75", "ar", "map", "accuracy", "acc", "precision", "recall", "f1", "auroc", "auc", "iou", "miou",
     "dice", "psnr", "render_psnr", "ssim", "pearson", "r2"}
)  # fmt: skip
LOWER = frozenset(
    {"loss", "epe", "mae", "mse", "rmse", "nll", "perplexity", "error", "fl_all", "bad1", "bad2", "bad3", "abs_rel",
     "count_error"}
)  # fmt: skip
PATIENCE = 10
LONG = 24  # evaluations of a fine-tuning that nobody ends: the best is often a third of the way


def never_due(plan: Plan) -> Iterator[Objection]:
    """Evaluations further apart than the run is long."""
    every = plan.config.trainer.evaluate_every
    if every <= plan.epochs:
        return
    yield Objection(
        "never_due",
        "trainer.evaluate_every",
        f"an evaluation is due every {every} epochs, and the run has {plan.epochs}",
        "there is one at the very end, when nothing can be chosen or stopped by it; it counts epochs, not steps",
        "",
        (Advice("trainer.evaluate_every=1", "one after each epoch"),),
    )


def patience_longer_than_run(plan: Plan) -> Iterator[Objection]:
    """An early stop that cannot come before the end."""
    stop, batches = plan.config.early_stop, plan.epoch_batches
    if stop is None or stop.target is not None or stop.diverged is not None:
        return
    if stop.unit == "iterations" and batches is None:
        return
    unit = {"epochs": 1, "iterations": batches or 1}.get(stop.unit)
    places = [epoch * unit for epoch in plan.evaluation_epochs] if unit else list(range(1, plan.evaluations + 1))
    counted = [place for place in places if place > stop.start]
    if counted and counted[0] + stop.patience < counted[-1]:
        return
    share = max((places[-1] - places[0]) // 3, 1)
    value = min(stop.patience, share)
    start = "" if stop.start + value < places[-1] - places[0] else " early_stop.start=0"
    since = f" from {stop.start} on" if stop.start else ""
    yield Objection(
        "patience_longer_than_run",
        "early_stop.patience",
        f"an improvement is waited for over {stop.patience} {stop.unit}{since}, and the run has {places[-1]}",
        "the run never stops early, however long nothing gets better",
        "",
        (Advice(f"early_stop.patience={value}{start}", "a third of the run"),),
    )


def impatient(plan: Plan) -> Iterator[Objection]:
    """An early stop at the first evaluation that is no better, since patience counts something shorter."""
    stop, batches = plan.config.early_stop, plan.epoch_batches
    if stop is None or stop.unit == "evaluations":
        return
    if stop.unit == "iterations" and batches is None:
        return
    apart = plan.config.trainer.evaluate_every * (1 if stop.unit == "epochs" else batches or 1)
    if stop.patience > apart or apart == 1:
        return
    yield Objection(
        "impatient",
        "early_stop.patience",
        f"early_stop waits for {stop.patience} {stop.unit}, and evaluations are {apart} apart",
        "the first evaluation that is no better ends the run",
        "",
        (Advice(f"early_stop.unit=evaluations early_stop.patience={PATIENCE}", "patience in evaluations"),),
    )


def no_early_stop(plan: Plan) -> Iterator[Objection]:
    """A run that waits for improvements and has no end to it, or a long fine-tuning."""
    if plan.config.early_stop is not None or plan.evaluations <= PATIENCE + 1:
        return
    schedule: Any = plan.config.schedule
    tuned = plan.traits.pretrained and plan.evaluations >= LONG
    if not (tuned or schedule.name == "plateau"):
        return
    patience = 15 if tuned else PATIENCE
    what = "a fine-tuning" if tuned else "a run whose rate is lowered where it stands still"
    yield Objection(
        "no_early_stop",
        "early_stop",
        f"there is no early_stop: {what} goes through {plan.evaluations} evaluations, whatever they say",
        "what comes after the best evaluation is learnt by heart, or time lost",
        "the depth document" if tuned else "the spatial document",
        (Advice(f"early_stop.metric={plan.config.checkpoint.metric} early_stop.mode={plan.config.checkpoint.mode} "
                f"early_stop.patience={patience}", f"ends it after {patience} evaluations without a better one"),),
    )  # fmt: skip


def _chosen_by(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """The sections that follow a metric: name, metric, mode."""
    for name in ("checkpoint", "early_stop", "schedule"):
        section: Any = getattr(plan.config, name)
        if section is not None and hasattr(section, "metric"):
            yield name, section.metric, section.mode


def wrong_way_round(plan: Plan) -> Iterator[Objection]:
    """A metric of which everybody knows that higher is better, minimised, or the other way round."""
    for section, metric, mode in _chosen_by(plan):
        word = metric.removeprefix("val/").removeprefix("ema/").split("/")[0]
        right = "max" if word in HIGHER else "min" if word in LOWER else mode
        if right != mode:
            yield Objection(
                "wrong_way_round",
                f"{section}.mode",
                f"{section} takes the {'lowest' if mode == 'min' else 'highest'} {metric} for the best",
                "the worst weights are kept, or the run is ended as it gets better",
                "",
                (Advice(f"{section}.mode={right}", f"{'higher' if right == 'max' else 'lower'} is better"),),
            )


def no_such_metric(plan: Plan) -> Iterator[Objection]:
    """A metric that no evaluation will have: of averaged weights where none are averaged, or misspelled."""
    for section, metric, _ in _chosen_by(plan):
        key, name = f"{section}.metric", metric.removeprefix("val/").removeprefix("ema/")
        known = plan.traits.metrics
        if metric.startswith("val/ema/") and plan.config.ema is None:
            message = f"{key} is {metric}, and no weights are averaged"
            advice = [Advice("ema.decay=0.999", "weights are averaged"), Advice(f"{key}=val/{name}", "without average")]
        elif known and name.split("/")[0] not in {*known, "loss", "signal"}:
            near = next(iter(difflib.get_close_matches(name, [*known, "loss"], 1, cutoff=0.5)), "loss")
            message = f"{key} is {metric}, and an evaluation has {', '.join(['loss', *known])}"
            mode = "max" if near in HIGHER else "min"
            advice = [Advice(f"{key}=val/{near} {section}.mode={mode}", "the nearest of them")]
        else:
            continue
        why = "the run fails at its first evaluation, after a whole epoch"
        yield Objection("no_such_metric", key, message, why, "", tuple(advice))


RULES = (
    never_due,
    patience_longer_than_run,
    impatient,
    no_early_stop,
    wrong_way_round,
    no_such_metric,
)

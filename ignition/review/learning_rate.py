"""Whether the learning rate suits the kind of model, the batch and what the model knows already."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ignition.review.facts import Rate
from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice
from ignition.stability.advice import written

LEAST, MOST = 0.5, 4.0  # times the known rate, however small or large a batch is
MARGIN = 1.5  # how far above a rate that is known to be good one is let pass
HIGHEST = 0.01  # for Adam, whatever the network
FINE = 1e-3  # for Adam, whatever the network, where it has been trained before
SMALL = 10_000  # parameters: fewer do not care
UNWARMED = 1e-3  # above it Adam's first steps want a warm-up
WARMUP_SHARE, WARMUP_STEPS = 0.05, 2000


def rate_too_high(plan: Plan) -> Iterator[Objection]:
    """A rate above what is known to be good, as the square root of the batch scales it for Adam."""
    rate = plan.config.optimizer.lr
    if not plan.adam:
        return
    known = plan.traits.rate
    if known is None and plan.traits.pretrained and rate > FINE:
        known = Rate(FINE / MARGIN, plan.step_samples, "the depth document")
    if known is None or known.highest > HIGHEST / MARGIN:
        known = Rate(HIGHEST / MARGIN, plan.step_samples, "the vae document")
    scale = min(max(math.sqrt(plan.step_samples / known.batch), LEAST), MOST)
    good = known.highest * scale
    if rate <= MARGIN * good * (1 + 1e-9):
        return
    why = (
        "the first large steps wipe out what the weights know already"
        if plan.traits.pretrained
        else "steps overshoot: the loss jumps, and ends higher"
    )
    scaled = f", which is {written(good)} at {plan.step_samples} (by the square root; Malladi et al., 2022)"
    message = (
        f"optimizer.lr is {written(rate)}; such a training is known to bear {written(known.highest)} with "
        f"{known.batch} samples a step{scaled if plan.step_samples != known.batch else ''}"
    )
    best = known.highest if known.highest <= MARGIN * good else good
    advice = Advice(f"optimizer.lr={written(best)}", "the rate that is known to be good")
    yield Objection("rate_too_high", "optimizer.lr", message, why, known.source, (advice,))


def no_warmup(plan: Plan) -> Iterator[Objection]:
    """Adam at a high rate from the first step on, when it has seen no gradient to scale by."""
    config, rate = plan.config, plan.config.optimizer.lr
    if not plan.adam or rate <= UNWARMED or plan.warmup_epochs > 0 or config.schedule.name == "sequence":
        return
    if plan.facts.parameters is not None and plan.facts.parameters < SMALL:
        return
    epochs = max(plan.epochs * WARMUP_SHARE, min(1.0, plan.epochs / 4))
    key = "schedule.warmup_fraction" if config.schedule.name == "one_cycle" else "schedule.warmup_epochs"
    value = 0.1 if config.schedule.name == "one_cycle" else epochs
    yield Objection(
        "no_warmup",
        key,
        f"optimizer.lr is {written(rate)} from the first step on, and there is no warm-up",
        f"Adam's first steps are as long as the rate says, whatever the gradient; {WARMUP_STEPS} steps of warm-up are "
        "what its averages take",
        "Ma & Yarats, 2021",
        (Advice(f"{key}={written(value)}", "the first steps are the most fragile ones"),),
    )


def short_warmup(plan: Plan) -> Iterator[Objection]:
    """A warm-up of a smaller share of the run than the task is known to want."""
    if plan.traits.warmup is None:
        return
    least, source = plan.traits.warmup
    share = plan.warmup_epochs / plan.epochs
    if share >= least * (1 - 1e-9):
        return
    key = "schedule.warmup_fraction" if plan.config.schedule.name == "one_cycle" else "schedule.warmup_epochs"
    yield Objection(
        "short_warmup",
        key,
        f"the warm-up takes {100 * share:.1f} % of the run, and {100 * least:.1f} % is what such a training wants",
        "a training that begins with large steps can fall into the nearest solution, and stay there",
        source,
        (
            Advice(
                f"schedule.name=one_cycle schedule.warmup_fraction={least:.4f} schedule.start_factor=0.04 "
                "schedule.anneal=linear",
                "up from a 25th of the rate, and down again to the end",
            ),
        ),
    )


RULES = (rate_too_high, no_warmup, short_warmup)

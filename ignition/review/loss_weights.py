"""Whether the loss terms' weights fit the terms, the run, and the metrics that are made of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ignition.config import Cycles, Ramp, Switch
from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice
from ignition.stability.advice import written

LOSS = "val/loss"
MOVES = 0.1  # share of all weights by which one may change before losses cannot be compared


def unequal_channels(plan: Plan) -> Iterator[Objection]:
    """Terms that are sums over channels, in unequal numbers, and all have one weight."""
    counts = plan.traits.channels
    weights = {name: plan.config.loss[name] for name in counts if name in plan.config.loss}
    if plan.config.loss and any(not weight.constant for weight in weights.values()):
        return
    numbers = {name: weights[name].value(0.0) if name in weights else 1.0 for name in counts}
    if plan.config.loss:
        numbers = {name: number for name, number in numbers.items() if name in weights and number}
    if len(numbers) < 2 or len(set(numbers.values())) > 1 or len({counts[name] for name in numbers}) < 2:
        return
    weight = next(iter(numbers.values()))
    told = ", ".join(f"{name} {counts[name]}" for name in numbers)
    yield Objection(
        "unequal_channels",
        "loss",
        f"terms that are sums over channels have one weight, {written(weight)}, and unequal numbers of them: {told}",
        "the optimizer follows the terms with many channels, and those with few stay at their mean",
        "the vae document",
        (
            Advice(
                " ".join(f"loss.{name}={written(weight / counts[name])}" for name in numbers),
                "each divided by its channels counts alike",
            ),
        ),
    )


def beyond_the_run(plan: Plan) -> Iterator[Objection]:
    """A weight that changes later than the run ends: its epochs were meant to be steps, or the run was made shorter."""
    for name, weight in plan.config.loss.items():
        if weight.constant:
            continue
        found = _beyond(f"loss.{name}", weight, plan.epochs)
        if found is not None:
            key, message, override = found
            yield Objection(
                "beyond_the_run",
                key,
                f"{message}, and the run has {plan.epochs}",
                "what was meant to come never comes; lengths are in epochs, not in steps",
                "",
                (Advice(override, "within the run"),),
            )


def _beyond(key: str, weight: Any, epochs: int) -> tuple[str, str, str] | None:
    """Which key leads beyond the run's epochs, in words, and what to set."""
    if isinstance(weight, Ramp) and weight.start >= epochs:
        return f"{key}.start", f"{key} begins to change after {weight.start:g} epochs", (
            f"{key}.start=0 {key}.epochs={written(min(weight.epochs, epochs / 2))}"
        )  # fmt: skip
    if isinstance(weight, Ramp) and weight.start + weight.epochs > epochs:
        end = weight.start + weight.epochs
        message = f"{key} comes to {written(weight.to)} after {end:g} epochs"
        return f"{key}.epochs", message, f"{key}.epochs={written(epochs - weight.start)}"
    if isinstance(weight, Cycles) and weight.cycles * weight.epochs > epochs:
        message = f"{key} has {weight.cycles} cycles of {weight.epochs:g} epochs"
        whole = f"from: {weight.from_:g}, to: {weight.to:g}, cycles: {weight.cycles}, rise: {weight.rise:g}"
        shorter = shlex.quote(f"{key}={{{whole}, epochs: {epochs / weight.cycles:.3g}}}")
        return f"{key}.epochs", message, shorter
    if isinstance(weight, Switch):
        late = [epoch for epoch in weight.at if float(epoch) >= epochs]
        if late:
            kept = ", ".join(f"{epoch}: {number:g}" for epoch, number in weight.at.items() if epoch not in late)
            switch = shlex.quote(f"{key}={{at: {{{kept}}}}}")
            return f"{key}.at", f"{key} jumps after {', '.join(late)} epochs", switch
    return None


def moving_loss(plan: Plan) -> Iterator[Objection]:
    """A choice by ``val/loss`` while its weights change: its values of two epochs are not of one thing."""
    config, stop = plan.config, plan.config.early_stop
    schedule: Any = config.schedule
    chosen = [("checkpoint", 0.0, "the best weights are chosen")] if config.checkpoint.metric == LOSS else []
    if schedule.name == "plateau" and schedule.metric == LOSS:
        chosen.append(("schedule", 0.0, "the rate is lowered"))
    if stop is not None and stop.metric == LOSS and stop.unit != "iterations":
        start = float(stop.start * (config.trainer.evaluate_every if stop.unit == "evaluations" else 1))
        chosen.append(("early_stop", start, "the run is ended"))
    for section, since, what in chosen:
        moved = _moved(plan, since)
        if moved is None:
            continue
        name, first, last = moved
        score, mode = plan.traits.score or ("", "")
        advice = Advice(f"{section}.metric={score} {section}.mode={mode}", "means the same in every epoch")
        if not score:
            advice = Advice("", f"{section}.metric: one that is no sum of these weights")
        yield Objection(
            "moving_loss",
            f"{section}.metric",
            f"{what} by val/loss, in which the weight of {name} goes from {written(first)} to {written(last)}",
            "the loss changes with the weight, whatever the model learns: an early epoch looks best",
            "",
            (advice,),
        )


def _moved(plan: Plan, start: float) -> tuple[str, float, float] | None:
    """The term whose weight changes most between the evaluations after ``start``, and from what to what."""
    epochs = [epoch for epoch in plan.evaluation_epochs if epoch > start]
    if len(epochs) < 2 or not plan.config.loss:
        return None
    ends = [
        (name, float(weight.value(epochs[0])), float(weight.value(epochs[-1])))
        for name, weight in plan.config.loss.items()
    ]
    total = sum(abs(last) for _, _, last in ends)
    name, first, last = max(ends, key=lambda end: abs(end[2] - end[1]))
    return (name, first, last) if abs(last - first) > MOVES * total else None


RULES = (unequal_channels, beyond_the_run, moving_loss)

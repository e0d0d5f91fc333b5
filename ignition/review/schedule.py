"""Whether the learning rate's schedule fits the run: its lengths, its unit, its patience."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice
from ignition.stability.advice import written

HALF = 0.5  # a warm-up that takes more than this share of the run is no warm-up
FEW_EPOCHS = 5  # fewer make a stair of a schedule that changes once an epoch
HASTY_PATIENCE, LITTLE_FACTOR = 5, 0.5
ENDS_HIGH = 0.2  # share of the first rate that a plateau schedule should be able to get below


def no_schedule(plan: Plan) -> Iterator[Objection]:
    """A transformer, or weights that know something, at the full rate to the end."""
    if plan.config.schedule.name != "constant" or not (plan.transformer or plan.traits.pretrained):
        return
    what = "a transformer" if plan.transformer else "a fine-tuning"
    few = plan.transformer or plan.evaluations <= 2 * (HASTY_PATIENCE + 1)
    override = (
        "schedule.name=cosine schedule.floor_factor=0.02"
        if few
        else f"schedule.name=plateau schedule.factor={LITTLE_FACTOR} schedule.patience={HASTY_PATIENCE}"
    )
    yield Objection(
        "no_schedule",
        "schedule.name",
        f"schedule.name is constant: {what} that stays at {written(plan.config.optimizer.lr)} to the end",
        "the last steps are as large as the first, so the loss goes on jumping about where it could settle",
        "the detection document" if plan.transformer else "the depth document",
        (Advice(override, "small steps at the end"),),
    )


def long_warmup(plan: Plan) -> Iterator[Objection]:
    """A warm-up of more than half the run. One longer than the run is refused when the config is read."""
    share = plan.warmup_epochs / plan.epochs
    if share <= HALF:
        return
    one_cycle = plan.config.schedule.name == "one_cycle"
    key = "schedule.warmup_fraction" if one_cycle else "schedule.warmup_epochs"
    if plan.config.schedule.name == "sequence":
        key, advice = "schedule.parts", Advice("", "make the first part's warm-up shorter")
    else:
        value = 0.1 if one_cycle else 0.1 * plan.epochs
        advice = Advice(f"{key}={written(value)}", "a tenth of the run; lengths are in epochs, not in steps")
    yield Objection(
        "long_warmup",
        key,
        f"the warm-up takes {100 * share:.0f} % of the run's {plan.epochs} epochs",
        "most of the run is spent below the rate that was chosen; is it counted in another unit?",
        "",
        (advice,),
    )


def changes_once_an_epoch(plan: Plan) -> Iterator[Objection]:
    """A schedule that changes once an epoch, in a run of few of them."""
    if getattr(plan.config.schedule, "per", "step") != "epoch" or plan.epochs >= FEW_EPOCHS:
        return
    yield Objection(
        "changes_once_an_epoch",
        "schedule.per",
        f"the rate changes once an epoch, and the run has {plan.epochs}",
        "the schedule becomes a stair of a few high steps, and the rate falls at once where it should glide",
        "",
        (Advice("schedule.per=step", "the same way down, with every step"),),
    )


def ends_before_the_run(plan: Plan) -> Iterator[Objection]:
    """A sequence of schedules that is over while the run goes on at next to no rate."""
    schedule: Any = plan.config.schedule
    if schedule.name != "sequence" or any(part.epochs is None for part in schedule.parts):
        return
    length, last = sum(part.epochs for part in schedule.parts), schedule.parts[-1].schedule
    floor = {"one_cycle": "final_factor", "exponential": "final_factor"}.get(last.name, "floor_factor")
    if length >= plan.epochs - 1e-6 or getattr(last, floor, 1.0) > 0.01:
        return
    yield Objection(
        "ends_before_the_run",
        "schedule.parts",
        f"the parts are over after {length:g} epochs, and the run has {plan.epochs}",
        "the rate stays where the last part has ended, which is next to nothing: the rest of the run learns nothing",
        "",
        (Advice(f"trainer.epochs={math.ceil(length)}", "the run ends with its schedule"),),
    )


def cut_in_a_cycle(plan: Plan) -> Iterator[Objection]:
    """Warm restarts of which the last is under way, at a high rate, when the run ends."""
    schedule: Any = plan.config.schedule
    if schedule.name != "warm_restarts":
        return
    left, period = plan.epochs - schedule.warmup_epochs, schedule.period_epochs
    whole, end = 0.0, 0.0
    while end + period <= left + 1e-6:
        end, whole, period = end + period, end + period, period * schedule.multiplier
    share = (left - whole) / period
    if not 1e-3 < share < 0.75:
        return
    to = math.ceil(schedule.warmup_epochs + whole)
    yield Objection(
        "cut_in_a_cycle",
        "schedule.period_epochs",
        f"the run ends {100 * share:.0f} % into a cycle of {period:g} epochs, at a high rate",
        "the rate has just been put back up, and the weights end where it threw them",
        "Loshchilov & Hutter, 2017",
        (Advice(f"trainer.epochs={to}", "the run ends with a cycle"),),
    )


def hasty_plateau(plan: Plan) -> Iterator[Objection]:
    """Small cuts after a short wait: a noisy evaluation is enough for one."""
    schedule: Any = plan.config.schedule
    if schedule.name != "plateau" or schedule.patience >= HASTY_PATIENCE or schedule.factor <= LITTLE_FACTOR:
        return
    yield Objection(
        "hasty_plateau",
        "schedule.patience",
        f"the rate is multiplied by {schedule.factor:g} after {schedule.patience} evaluations without improvement",
        "a few noisy evaluations lower the rate, and then by too little to calm it",
        "the spatial document",
        (
            Advice(
                f"schedule.factor={LITTLE_FACTOR} schedule.patience={HASTY_PATIENCE}",
                "fewer cuts that count for more",
            ),
        ),
    )


def plateau_without_time(plan: Plan) -> Iterator[Objection]:
    """A plateau schedule that cannot come down far within the run, or not at all."""
    schedule: Any = plan.config.schedule
    if schedule.name != "plateau":
        return
    every, cuts = plan.config.trainer.evaluate_every, plan.cuts(plan.evaluations)
    lowest = schedule.factor**cuts
    if lowest < ENDS_HIGH:
        return
    needed = math.ceil(math.log(ENDS_HIGH) / math.log(schedule.factor) + 1e-9)
    waits = needed * (schedule.patience + 1) + (needed - 1) * schedule.cooldown
    epochs = every * (1 + waits)
    can = ("never", "at most once")[cuts] if cuts < 2 else f"at most {cuts} times"
    advice = [Advice(f"trainer.epochs={epochs}", f"time for {needed} cuts")]
    if every > 1 and schedule.factor ** plan.cuts(plan.epochs) < ENDS_HIGH:
        advice.append(Advice("trainer.evaluate_every=1", "more evaluations in the same time"))
    yield Objection(
        "plateau_without_time",
        "trainer.epochs",
        f"in {plan.evaluations} evaluations with a patience of {schedule.patience} the rate is lowered {can}, to "
        f"{lowest:.2g} of the first at the lowest",
        "the run ends while its steps are still large; patience counts evaluations, not epochs or steps",
        "the spatial document",
        tuple(advice),
    )


RULES = (
    no_schedule,
    long_warmup,
    changes_once_an_epoch,
    ends_before_the_run,
    cut_in_a_cycle,
    hasty_plateau,
    plateau_without_time,
)

"""Whether the data is enough, and what validates is not what is trained on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice

FEW = 10  # validation samples with one answer each: one of them is a tenth of the score
WORKERS, PER_CORE = 16, 2


def shared_samples(plan: Plan) -> Iterator[Objection]:
    """Recordings, slides, scenes or files that are both trained on and validated with."""
    shared = plan.facts.shared
    if not shared:
        return
    some = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if len(shared) > 3 else "")
    train, val = plan.config.data.train, plan.config.data.val
    divided = plan.traits.divides and train.root is not None and train != val
    divide = f"data.val.name={train.name} data.val.root={shlex.quote(str(train.root))}"
    yield Objection(
        "leaking_split",
        "data.val.root" if val.root else "data.val",
        f"the validation data has {len(shared)} in common with the training data: {some}",
        "the validation loss is one of training: it goes on falling while the model learns by heart",
        "the depth document",
        (
            Advice(divide, "the recipe divides a folder that both name alike: whole recordings go to one or the other")
            if divided
            else Advice("", "leave out of datasets().val what datasets().train has: whole recordings, not samples"),
        ),
    )


def small_split(plan: Plan) -> Iterator[Objection]:
    """Fewer validation samples than a score can be made of."""
    count = plan.facts.val_samples
    if count is None or count >= FEW or plan.traits.dense:
        return
    settable = hasattr(plan.config.recipe, "val_samples") and plan.config.data.val.root is None
    advice = Advice("recipe.val_samples=64", "a score that is one of the model")
    if not settable:
        advice = Advice("", "validate on more: a larger share of the data, or other data")
    yield Objection(
        "small_split",
        "recipe.val_samples" if settable else "data.val",
        f"{count} sample{'s' if count > 1 else ''} validate",
        "the score jumps with each of them, and what is chosen or stopped by it follows luck",
        "the spatial document",
        (advice,),
    )


def batch_larger_than_data(plan: Plan) -> Iterator[Objection]:
    """A batch that an epoch cannot fill."""
    samples, size = plan.facts.train_samples, plan.config.data.batch_size
    if samples is None or samples >= size:
        return
    yield Objection(
        "batch_larger_than_data",
        "data.batch_size",
        f"data.batch_size is {size}, and there are {samples} samples to train on",
        "each epoch is one short batch, and the rate was chosen for a whole one",
        "",
        (Advice(f"data.batch_size={max(samples // 4, 1)}", "some steps an epoch"),),
    )


def one_step_an_epoch(plan: Plan) -> Iterator[Objection]:
    """More batches to a step than an epoch has."""
    batches, accumulate = plan.epoch_batches, plan.config.trainer.accumulate
    if batches is None or accumulate <= batches:
        return
    yield Objection(
        "one_step_an_epoch",
        "trainer.accumulate",
        f"trainer.accumulate is {accumulate}, and an epoch has {batches} batches",
        "a step is never made of as many as were asked for, and an epoch is a single step",
        "",
        (Advice(f"trainer.accumulate={max(batches // 4, 1)}", "some steps an epoch"),),
    )


def shuffled_evaluation(plan: Plan) -> Iterator[Objection]:
    """Validation data that comes in another order each time: batches, and pictures, differ from one to the next."""
    if not plan.facts.shuffled:
        return
    yield Objection(
        "shuffled_evaluation",
        "data.val",
        "the validation data is a loader that shuffles",
        "pictures and what is computed over a batch are of other samples each time, and cannot be compared",
        "",
        (Advice("", "give its dataset: datasets() returns datasets, which are evaluated in their order"),),
    )


def workers_beyond_cores(plan: Plan) -> Iterator[Objection]:
    """Loader processes that take turns on the cores."""
    workers, cores = plan.config.data.workers, plan.facts.cores
    if cores is None or workers <= max(WORKERS, PER_CORE * cores):
        return
    yield Objection(
        "workers_beyond_cores",
        "data.workers",
        f"data.workers is {workers}, and this machine has {cores} cores",
        "loader processes take turns, and each holds its memory",
        "",
        (Advice(f"data.workers={cores}", "one to a core"),),
    )


def narrow_on_a_cpu(plan: Plan) -> Iterator[Objection]:
    """16-bit numbers on a processor that was asked for by name and has no use for them."""
    trainer = plan.config.trainer
    if trainer.device != "cpu" or trainer.amp not in ("bf16", "fp16"):
        return
    yield Objection(
        "narrow_on_a_cpu",
        "trainer.amp",
        f"trainer.amp is {trainer.amp} on a CPU",
        "what a GPU gains by it, most CPUs lose: digits for nothing",
        "",
        (Advice("trainer.amp=auto", "16 bits only where the hardware has them"),),
    )


RULES = (
    shared_samples,
    small_split,
    batch_larger_than_data,
    one_step_an_epoch,
    shuffled_evaluation,
    workers_beyond_cores,
    narrow_on_a_cpu,
)

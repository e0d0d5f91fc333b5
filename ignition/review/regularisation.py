"""What holds a run back: clipping, weight decay, an average of the weights."""

from __future__ import annotations

from collections.abc import Iterator

from ignition.review.objection import Objection
from ignition.review.plan import Plan
from ignition.stability import Advice
from ignition.stability.advice import written

INITIAL_SHARE = 0.01  # of the first weights that may be left in an average at the end
UNDECAYED = frozenset({"Rprop", "LBFGS", "SparseAdam"})  # have no weight decay


def no_clipping(plan: Plan) -> Iterator[Objection]:
    """A transformer, or weights that know something, without a limit to its gradients."""
    if plan.config.clip.kind != "none" or not (plan.transformer or plan.traits.pretrained):
        return
    what = "a transformer" if plan.transformer else "a fine-tuning"
    why = (
        "a single batch has gradients many times as large as the others, and throws the weights where the loss jumps"
        if plan.transformer
        else "noise and outliers of the new data derail what was learnt before: a rare batch is enough"
    )
    yield Objection(
        "no_clipping",
        "clip.kind",
        f"clip.kind is none: {what} whose gradients have no limit",
        why,
        "the detection document" if plan.transformer else "the depth document",
        (Advice("clip.kind=norm clip.max_norm=1.0", "a batch can then move the weights no further than that"),),
    )


def no_decay(plan: Plan) -> Iterator[Objection]:
    """A transformer, or weights that know something, without weight decay."""
    optimizer = plan.config.optimizer
    if optimizer.weight_decay or optimizer.name in UNDECAYED or not (plan.transformer or plan.traits.pretrained):
        return
    if any(group.weight_decay for group in optimizer.groups):
        return
    what = "a transformer" if plan.transformer else "a fine-tuning"
    decay = 1e-4 if plan.transformer else 1e-5
    yield Objection(
        "no_decay",
        "optimizer.weight_decay",
        f"optimizer.weight_decay is 0: {what} whose weights may grow as they like",
        "the training loss goes on falling while the validation loss does not",
        "the detection document" if plan.transformer else "the depth document",
        (Advice(f"optimizer.weight_decay={written(decay)}", "keeps weights small"),),
    )


def decay_on_norms(plan: Plan) -> Iterator[Objection]:
    """Weight decay of biases and normalisation layers, which have no scale to keep."""
    optimizer = plan.config.optimizer
    decays = optimizer.weight_decay or any(group.weight_decay for group in optimizer.groups)
    if not (optimizer.decay_norms and decays):
        return
    yield Objection(
        "decay_on_norms",
        "optimizer.decay_norms",
        "optimizer.decay_norms is true: biases and normalisation layers decay as weights do",
        "a normalisation's gain is pulled to nought, which keeps nothing small but the signal",
        "He et al., 2019",
        (Advice("optimizer.decay_norms=false", "only what has two dimensions or more decays"),),
    )


def average_of_the_start(plan: Plan) -> Iterator[Objection]:
    """An average of the weights that still holds the first ones when the run ends."""
    ema, steps = plan.config.ema, plan.steps
    if ema is None or ema.warmup or steps is None:
        return
    share = ema.decay**steps
    if share <= INITIAL_SHARE:
        return
    yield Objection(
        "average_of_the_start",
        "ema.decay",
        f"after the run's {steps} steps {100 * share:.0f} % of the average are still the weights of its start",
        "the averaged weights are judged and kept, and they are not what was trained",
        "",
        (Advice("ema.warmup=true", "the average forgets its start"),),
    )


RULES = (no_clipping, no_decay, decay_on_norms, average_of_the_start)

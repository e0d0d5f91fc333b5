"""Whether the batch or the state of the run was guilty: numbers in, a verdict with its reason out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

SPREADS = 6.0  # above the median, and no more chance
ENOUGH = 16  # values from which on the spread among them is believed
FLOOR, FLOOR_OF_FEW = 0.03, 0.25  # of the median, the least spread

RULE = (
    f"Bad is what is not finite, or a loss or gradient norm more than {SPREADS:g} spreads above the median of the last "
    f"64 iterations before. A spread is 1.4826 MAD, at least {FLOOR:.0%} of the median ({FLOOR_OF_FEW:.0%} where there "
    f"are fewer than {ENOUGH} values)."
)

Guilty = Literal["batch", "state", "both", "sample", "neither"]


def limit_of(values: Iterable[float]) -> float:
    """Above this a value is too large to be one of ``values``; infinite where there are none.

    >>> limit_of([1.0, 1.2, 0.8, 1.1])
    2.625
    >>> limit_of([])
    inf
    """
    usual = [value for value in values if math.isfinite(value)]
    if not usual:
        return math.inf
    middle = median(usual)
    floor = FLOOR if len(usual) >= ENOUGH else FLOOR_OF_FEW
    spread = max(1.4826 * median(abs(value - middle) for value in usual), floor * abs(middle))
    return round(middle + SPREADS * spread, 12)


@dataclass(frozen=True)
class Limits:
    """What a loss and a gradient norm may be at most in a state of the run."""

    loss: float
    gradient_norm: float

    def why_bad(self, loss: float, gradient_norm: float) -> str:
        """In words, why these numbers are bad; empty if they are not."""
        if not math.isfinite(loss):
            return f"loss {loss}"
        if not math.isfinite(gradient_norm):
            return f"gradient norm {gradient_norm}"
        if loss > self.loss:
            return f"loss {loss:.4g} above {self.loss:.4g}"
        if gradient_norm > self.gradient_norm:
            return f"gradient norm {gradient_norm:.4g} above {self.gradient_norm:.4g}"
        return ""


@dataclass(frozen=True)
class Judged:
    """What was found bad in one state.

    Attributes:
        iteration: the state is that after this iteration.
        guilty: why the guilty batch is bad; empty if it is not.
        others: the same of each other batch.
    """

    iteration: int
    guilty: str
    others: Sequence[str]

    @property
    def spoilt(self) -> bool:
        """Whether at least half of the other batches are bad."""
        return bool(self.others) and 2 * sum(map(bool, self.others)) >= len(self.others)

    @property
    def told(self) -> str:
        """The other batches in words.

        >>> Judged(3, "", ["", "", "loss nan"]).told
        '1 of 3 other batches is bad'
        """
        bad, count = sum(map(bool, self.others)), len(self.others)
        return f"{bad or 'none'} of {count} other batches {'is' if bad < 2 else 'are'} bad"


@dataclass(frozen=True)
class Verdict:
    """Who was guilty, why, and which samples where it was a sample."""

    guilty: Guilty
    reason: str
    samples: list[int] = field(default_factory=list)


def judge(before: Judged, then: Judged, *, samples: Sequence[int] = ()) -> Verdict:
    """The verdict.

    Args:
        before: the state from before the incident.
        then: the state in which it began; it may be the same one.
        samples: those without which the batch is fine.

    >>> judge(Judged(5, "loss nan", ["", ""]), Judged(9, "loss nan", ["", ""])).guilty
    'batch'
    >>> judge(Judged(5, "", ["", ""]), Judged(9, "loss 80 above 2", ["loss 81 above 2", ""])).guilty
    'state'
    """
    in_before, in_then = f"in the state of iteration {before.iteration}", f"in that of iteration {then.iteration}"
    if then.spoilt:
        if before.guilty and not before.spoilt:
            already = f"the batch is bad {in_before} already ({before.guilty}), where {before.told}"
            return Verdict("both", f"{already}; and {in_then} {then.told}")
        return Verdict("state", f"{then.told} in the state of iteration {then.iteration}, {_since(before, then)}")
    if not then.guilty:
        return Verdict("neither", "")
    bad = f"the batch is bad {in_then} ({then.guilty}), where {then.told}"
    if not before.guilty:
        return Verdict("both", f"{bad}, and not {in_before}: it takes this batch and this state together")
    bad = f"is bad in the state of iteration {then.iteration} ({then.guilty}), where {then.told}"
    if before.iteration != then.iteration:
        bad += f", and in that of iteration {before.iteration} as well"
    if not samples:
        return Verdict("batch", f"it {bad}; no single sample of it explains that")
    named, them = ", ".join(map(str, samples)), "it" if len(samples) == 1 else "them"
    return Verdict("sample", f"without {named} the batch is fine; with {them} it {bad}", list(samples))


def _since(before: Judged, then: Judged) -> str:
    """Since when the state is bad."""
    if before.iteration == then.iteration:
        if before.spoilt:
            return "and there is no earlier state to compare it with"
        return "and none before that iteration's start: a handler has changed the weights there"
    if before.spoilt:
        return f"and in that of iteration {before.iteration}, too: the weights were wrong before that already"
    return f"and {before.told} in that of iteration {before.iteration}: the weights went wrong between the two"

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
class Tested:
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

        >>> Tested(3, "", ["", "", "loss nan"]).told
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


def judge(before: Tested, then: Tested, *, samples: Sequence[int] = (), without: str | None = None) -> Verdict:
    """The verdict.

    Args:
        before: the state from before the incident.
        then: the state in which it began; it may be the same one.
        samples: samples of the batch that are bad by themselves.
        without: why the batch is bad without them; empty if it is not, None if that is not known.

    >>> judge(Tested(5, "loss nan", ["", ""]), Tested(9, "loss nan", ["", ""])).guilty
    'batch'
    >>> judge(Tested(5, "", ["", ""]), Tested(9, "loss 80 above 2", ["loss 81 above 2", ""])).guilty
    'state'
    """
    if then.spoilt and before.guilty and not before.spoilt:
        return Verdict(
            "both",
            f"its batch is bad in the state of iteration {before.iteration} already ({before.guilty}), where "
            f"{before.told}; and in the state of iteration {then.iteration} {then.told}",
        )
    if then.spoilt:
        since = (
            f"in that of iteration {before.iteration} {before.told}: the weights went wrong between the two"
            if not before.spoilt
            else f"in that of iteration {before.iteration}, too: the weights were wrong before that already"
        )
        if before.iteration == then.iteration:
            since = "and there is no earlier one to compare it with"
            if not before.spoilt:
                since = "before the iteration started it was fine: a handler has changed the weights there"
        return Verdict("state", f"in the state of iteration {then.iteration} {then.told}; {since}")
    if not then.guilty:
        return Verdict("neither", "")
    if not before.guilty:
        return Verdict(
            "both",
            f"its batch is bad in the state of iteration {then.iteration} ({then.guilty}), where {then.told}, and not "
            f"in that of iteration {before.iteration}: this batch together with this state",
        )
    where = f"the state of iteration {then.iteration}"
    if before.iteration != then.iteration:
        where = f"the states of iterations {before.iteration} and {then.iteration}"
    reason = f"its batch is bad in {where} ({then.guilty}), where {then.told}"
    if samples and without == "":
        named = ", ".join(map(str, samples))
        told = f"sample {named} is" if len(samples) == 1 else f"samples {named} are each"
        them = "it" if len(samples) == 1 else "them"
        return Verdict("sample", f"{told} bad alone, and the batch without {them} is fine; {reason}", list(samples))
    return Verdict("batch", f"{reason}; no sample alone explains it" if without is not None or not samples else reason)

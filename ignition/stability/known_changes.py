"""What is changed on purpose in a run, and when: no trouble, however much it looks like some."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence


class KnownChanges:
    """Iterations at which a schedule lifts the learning rate, or gives a loss term another weight.

    An iteration is the first whose loss can show it. What is not named here is trouble.

    Args:
        rates: the learning rate was raised abruptly, as by a warm restart.
        weights: the weight of a loss term has jumped.
        ramps: first and last iteration of each way that the weight of a loss term takes from one value to another.

    Raises:
        ValueError: a ramp ends before it begins.

    >>> changes = KnownChanges(rates=[101], ramps=[(200, 300)])
    >>> changes.of_level(100, 105), changes.of_level(101, 105), changes.ramping(250), changes.settled(250)
    (True, False, True, False)
    """

    def __init__(
        self, *, rates: Iterable[int] = (), weights: Iterable[int] = (), ramps: Iterable[tuple[int, int]] = ()
    ):
        self.rates, self.weights, self.ramps = sorted(set(rates)), sorted(set(weights)), sorted(set(ramps))
        for first, last in self.ramps:
            if last < first:
                raise ValueError(f"ramps has ({first}, {last}); the last iteration must not be before the first")
        ends = [iteration for first, last in self.ramps for iteration in (first, last + 1)]
        self._of_weights = sorted({*self.weights, *ends})
        self._of_level = sorted({*self.rates, *self._of_weights})
        self._settled = max((last for _, last in self.ramps), default=-1)

    def of_level(self, before: int, now: int) -> bool:
        """Whether another loss is usual ``now`` than after iteration ``before``."""
        return _between(self._of_level, before, now)

    def of_weights(self, before: int, now: int) -> bool:
        """Whether the loss is another sum ``now`` than after iteration ``before``."""
        return _between(self._of_weights, before, now)

    def ramping(self, iteration: int) -> bool:
        """Whether the weight of a loss term moves just then."""
        return iteration <= self._settled and any(first <= iteration <= last for first, last in self.ramps)

    def settled(self, iteration: int) -> bool:
        """Whether every weight that moves has come to its value; one that has not set out has not."""
        return iteration > self._settled

    def same_sum(self, iteration: int) -> bool:
        """Whether the loss is still the sum that it was at the start of the run."""
        return not self._of_weights or iteration < self._of_weights[0]


def _between(iterations: Sequence[int], before: int, now: int) -> bool:
    place = bisect_right(iterations, before)
    return place < len(iterations) and iterations[place] <= now

"""Finds a term of the loss that explodes by itself, while the others are what they were."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from ignition.stability.finding import Advice, Finding


class ExplodingTerm:
    """Finds one loss term that has exploded in three of the last 64 steps, and takes the whole loss along.

    A value has exploded when it is not finite, or above ``times`` the usual one, the median of the last 64 that had
    not. The whole loss must have exploded in the same steps, and no other term: where several do, the network has
    diverged and the terms only tell. Exponentials, logarithms, divisions and roots do it, of numbers that training
    moves freely: ``exp(-100 var)`` is 1 at a variance of 0, and infinite in float32 at -0.89. It has ended when none
    of the last 64 has exploded.

    Args:
        times: how far above the usual a value has exploded.

    >>> exploding = ExplodingTerm()
    >>> found = [exploding.update(i, 2.0, {"l1": 1.5, "spread": 0.5}) for i in range(40)]
    >>> found += [exploding.update(i, 1e9, {"l1": 1.5, "spread": 1e9}) for i in range(40, 46)]
    >>> [(finding.subject, finding.first, finding.last) for finding in found if finding]
    [('spread', 40, 42)]
    """

    USUAL = 64
    STEPS, TIMES_IN_THEM = 64, 3
    LEAST = 5  # values that make one usual

    def __init__(self, times: float = 100.0):
        if not times > 1:
            raise ValueError(f"times is {times}; it must be a number above 1")
        self.times = times
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a term, makes other values usual."""
        self._last = -1
        self._usual: dict[str, deque[float]] = {}  # by term, "" is the whole
        self._guilty: deque[tuple[int, str]] = deque(maxlen=self.STEPS)  # iteration and the one term that exploded
        self._on = ""

    @property
    def active(self) -> bool:
        """Whether some term explodes."""
        return bool(self._on)

    def update(self, iteration: int, loss: float, terms: Mapping[str, float]) -> Finding | None:
        """Look at the loss of an iteration and its unweighted terms."""
        if iteration <= self._last or len(terms) < 2:
            return None
        self._last = iteration
        whole = self._has_exploded("", loss)
        exploded = [name for name, value in terms.items() if self._has_exploded(name, value)]
        guilty = exploded[0] if whole and len(exploded) == 1 else ""
        self._guilty.append((iteration, guilty))
        if self._on and all(name != self._on for _, name in self._guilty):
            self._on = ""
        places = [place for place, name in self._guilty if name == guilty]
        if not guilty or self._on == guilty or len(places) < self.TIMES_IN_THEM:
            return None
        self._on = guilty
        usual = median(self._usual[guilty]) if self._usual.get(guilty) else 0.0
        return Finding(
            "exploding_term",
            "critical",
            f"'{guilty}' alone makes the loss {loss:.4g}: it is {terms[guilty]:.4g} and was {usual:.4g}",
            places[0],
            iteration,
            subject=guilty,
            evidence={"value": terms[guilty], "usual": usual, "loss": loss, "iterations": places},
            confidence=0.95,
            advice=(
                Advice(
                    f"loss.{guilty}=0", "leaves it out until its exponential, logarithm, root or division is mended"
                ),
            ),
        )

    def _has_exploded(self, name: str, value: float) -> bool:
        """Whether it is far above what is usual; if not, it becomes a part of that."""
        usual = self._usual.setdefault(name, deque(maxlen=self.USUAL))
        if math.isfinite(value):
            # A term that was next to nothing may grow to the size of the whole without harm.
            size = max((abs(median(values)) for values in (usual, self._usual[""]) if values), default=math.inf)
            if not abs(value) > self.times * size or len(usual) < self.LEAST:
                usual.append(value)
                return False
        return True

    def state_dict(self) -> dict[str, Any]:
        """What is usual, and which terms exploded lately."""
        return {
            "last": self._last,
            "on": self._on,
            "usual": {name: list(values) for name, values in self._usual.items()},
            "guilty": [list(entry) for entry in self._guilty],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._on = state["last"], state["on"]
        self._usual = {name: deque(values, maxlen=self.USUAL) for name, values in state["usual"].items()}
        self._guilty = deque(((place, name) for place, name in state["guilty"]), maxlen=self.STEPS)

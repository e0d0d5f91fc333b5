"""Finds loss terms that drown others, drown in them, or pull against them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import permutations
from statistics import median
from typing import Any

from ignition.stability.advice import RunSettings, weigh
from ignition.stability.finding import Advice, Finding

MEASURED = 5  # measurements that a median is of: the gradients of one batch say little


class LossImbalance:
    """Finds a term whose share of the gradient is below ``least`` or above ``most``: the median of five measurements.

    ``share = norm / sum of norms``, of the gradients of the weighted terms on what they share: the norms that GradNorm
    (Chen et al., 2018) makes equal. It has ended when none of the last five shares is beyond the limit.

    A term that is meant to be small looks the same as one that has drowned, and norms are taken at one weight, which
    some terms reach through more layers than others: so it is a warning below ``drowned`` alone, and worth knowing
    above. The limits are not measured.

    Args:
        least, most: shares.
        drowned: a share.
        settings: those of the run, for the advice.

    >>> imbalance = LossImbalance()
    >>> found = [imbalance.update(i, {"l1": 2.0, "smooth": 0.002}, {"smooth": 0.1}) for i in range(0, 1000, 200)]
    >>> [(finding.message, finding.advice[0].override) for finding in found[-1]][1]
    ("'smooth' has 0.1 % of the gradient", 'loss.smooth=1.0')
    """

    FURTHEST = 10.0  # what advice multiplies a weight by at most: a step that can be judged by what comes of it

    def __init__(
        self,
        least: float = 0.01,
        most: float = 0.95,
        *,
        drowned: float = 0.001,
        settings: RunSettings = RunSettings(),
    ):
        if not 0 <= least < most <= 1:
            raise ValueError(f"least is {least} and most {most}; they are shares, the first below the second")
        self.least, self.most, self.drowned, self.settings = least, most, drowned, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes other shares usual."""
        self._last = -1
        self._shares: dict[str, deque[float]] = {}
        self._on: list[str] = []

    @property
    def active(self) -> bool:
        """Whether some term is out of balance."""
        return bool(self._on)

    def update(
        self, iteration: int, norms: Mapping[str, float], weights: Mapping[str, float] | None = None
    ) -> list[Finding]:
        """Look at a measurement; one with a norm that is not finite, or with fewer than two terms, does not count.

        Args:
            norms: of the gradient of each weighted term.
            weights: of the terms, if they are known; a term of weight 0 is left out by the caller.
        """
        total = sum(norms.values())
        if iteration <= self._last or len(norms) < 2 or not math.isfinite(total) or total <= 0:
            return []
        self._last = iteration
        findings = []
        for name, norm in norms.items():
            seen = self._shares.setdefault(name, deque(maxlen=MEASURED))
            seen.append(norm / total)
            if len(seen) < MEASURED:
                continue
            share = median(seen)
            if name in self._on and all(self.least <= one <= self.most for one in seen):
                self._on.remove(name)
            if not self.least <= share <= self.most and name not in self._on:
                self._on.append(name)
                findings.append(self._finding(iteration, name, share, weights or {}, len(norms)))
        return findings

    def _finding(self, iteration: int, name: str, share: float, weights: Mapping[str, float], terms: int) -> Finding:
        weight = weights.get(name)
        factor = (1 - share) / (terms - 1) / share if share > 0 else math.inf  # to the mean of the others
        change = ""
        if weight and 0 < factor < math.inf:
            step = min(max(factor, 1 / self.FURTHEST), self.FURTHEST)
            change = weigh(self.settings, {name: weight * step}, weights)
        why = "its gradient is then as long as the others' on average"
        if not 1 / self.FURTHEST <= factor <= self.FURTHEST:
            why = "a step towards a gradient as long as the others' on average"
        if share == 0:
            why = "it has no gradient at all: look for a detach, a rounding, a mask without a single valid pixel"
        return Finding(
            "loss_imbalance",
            "warning" if share < self.drowned else "info",
            f"'{name}' has {100 * share:.2g} % of the gradient",
            iteration,
            iteration,
            subject=name,
            evidence={"share": share, "terms": terms},
            confidence=0.5,
            advice=(
                Advice(change, why),
                Advice("", "if it is meant to be that small, leave it; what has no effect can go"),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest shares of each term."""
        shares = {name: list(seen) for name, seen in self._shares.items()}
        return {"last": self._last, "shares": shares, "on": list(self._on)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._on = state["last"], list(state["on"])
        self._shares = {name: deque(seen, maxlen=MEASURED) for name, seen in state["shares"].items()}


class LossConflict:
    """Finds two terms whose gradients point against each other: a median cosine of five measurements below ``cosine``.

    The cosine is the one by which PCGrad (Yu et al., 2020) decides to project. It has ended when none of the last five
    is below. Terms that balance each other on purpose, as a penalty does, are in conflict near their optimum. The limit
    is not measured.

    Args:
        cosine: below which it is found.
        settings: those of the run, for the advice.

    >>> conflict = LossConflict()
    >>> found = [conflict.update(i, {("l1", "smooth"): -0.6}) for i in range(0, 1000, 200)]
    >>> found[-1][0].message
    "'l1' and 'smooth' pull against each other: their gradients have a cosine of -0.6"
    """

    def __init__(self, cosine: float = -0.3, *, settings: RunSettings = RunSettings()):
        if not -1 < cosine < 0:
            raise ValueError(f"cosine is {cosine}; it must be a number between -1 and 0")
        self.cosine, self.settings = cosine, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another weight of a loss term, makes other gradients usual."""
        self._last = -1
        self._cosines: dict[tuple[str, str], deque[float]] = {}
        self._on: list[tuple[str, str]] = []

    @property
    def active(self) -> bool:
        """Whether two terms are in conflict."""
        return bool(self._on)

    def update(
        self, iteration: int, cosines: Mapping[tuple[str, str], float], norms: Mapping[str, float] | None = None
    ) -> list[Finding]:
        """Look at a measurement.

        Args:
            cosines: between the gradients of two terms, by their names in either order.
            norms: of the gradients of the weighted terms, if they are known; to say which matters less.
        """
        if iteration <= self._last:
            return []
        self._last = iteration
        findings = []
        for (one, other), cosine in cosines.items():
            if not math.isfinite(cosine):
                continue
            pair = next((known for known in permutations((one, other)) if known in self._cosines), (one, other))
            seen = self._cosines.setdefault(pair, deque(maxlen=MEASURED))
            seen.append(cosine)
            if len(seen) < MEASURED:
                continue
            usual = median(seen)
            if pair in self._on and min(seen) >= self.cosine:
                self._on.remove(pair)
            if usual < self.cosine and pair not in self._on:
                self._on.append(pair)
                findings.append(self._finding(iteration, pair, usual, norms or {}))
        return findings

    def _finding(self, iteration: int, pair: tuple[str, str], cosine: float, norms: Mapping[str, float]) -> Finding:
        less = min(pair, key=lambda name: norms[name]) if all(name in norms for name in pair) else ""
        return Finding(
            "loss_conflict",
            "info",  # a penalty that does its work pulls against the data, too
            f"'{pair[0]}' and '{pair[1]}' pull against each other: their gradients have a cosine of {cosine:.2g}",
            iteration,
            iteration,
            subject=f"{pair[0]}, {pair[1]}",
            evidence={"cosine": cosine, **{f"norm of {name}": norms[name] for name in pair if name in norms}},
            confidence=0.5,
            advice=(
                Advice(
                    weigh(self.settings, {less: 0}, norms) if less else "",
                    "see what it is like without the one that matters less",
                ),
                Advice("", "else give them weights that change: first the one, then the other"),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest cosines of each pair."""
        return {
            "last": self._last,
            "cosines": [[*pair, list(seen)] for pair, seen in self._cosines.items()],
            "on": [list(pair) for pair in self._on],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._on = state["last"], [(one, other) for one, other in state["on"]]
        self._cosines = {(one, other): deque(seen, maxlen=MEASURED) for one, other, seen in state["cosines"]}

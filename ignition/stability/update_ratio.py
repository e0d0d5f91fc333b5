"""Finds parameters that a step changes too much, or next to nothing, beside the others."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, given, warm_up
from ignition.stability.finding import Advice, Finding

NAMED = 10  # so many parameters are named


class UpdateRatio:
    """Finds weights whose steps are out of proportion: ``|change| / |weights|``, norms of one step and one parameter.

    Too large is a median of the last five measurements above ``most``; too small, one below a hundredth of what it is
    for the parameter in the middle. Give it weights of two and more dimensions: biases and scales of norms begin at 0
    or are few, and their ratios say nothing. Parameters that are frozen on purpose are left out by the caller.

    The often quoted healthy value of 0.001 (Karpathy, 2022) is one of long trainings of large networks: in trainings of
    small ones whose rate was fine, a step changed the weight matrix in the middle by 0.0005 to 0.03. None of 38 was
    flagged, and only 1 of 22 whose rate was too high: this says which weights, and `LearningRateTooHigh` that there is
    a fault.

    Args:
        most: the largest ratio that is fine.
        settings: those of the run, for the advice.

    >>> ratios = UpdateRatio()
    >>> measured = [ratios.update(i, {"stem": 2e-3, "middle": 1e-3, "head": 0.3}) for i in range(0, 250, 50)]
    >>> measured[-1][0].message
    'a step changes head by 0.3 of its norm (most: 0.2)'
    """

    MEASURED = 5
    LEAST = 0.01

    def __init__(self, most: float = 0.2, *, settings: RunSettings = RunSettings()):
        if not most > 0:
            raise ValueError(f"most is {most}; it must be a number above 0")
        self.most, self.settings = most, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as another learning rate, makes other ratios usual."""
        self.too_large, self.too_small = False, False
        self._last = -1
        self._ratios: dict[str, deque[float]] = {}

    @property
    def active(self) -> bool:
        """Whether some ratio is out of proportion."""
        return self.too_large or self.too_small

    def update(self, iteration: int, ratios: Mapping[str, float]) -> list[Finding]:
        """Look at the ratios of an iteration, by parameter; those that are not finite do not count."""
        if iteration <= self._last:
            return []
        self._last = iteration
        for name, ratio in ratios.items():
            if math.isfinite(ratio):
                self._ratios.setdefault(name, deque(maxlen=self.MEASURED)).append(ratio)
        usual = {name: median(seen) for name, seen in self._ratios.items() if len(seen) == self.MEASURED}
        if not usual:
            return []
        middle = median(usual.values())
        # What has been found is over when it is well within again, and not with the first that is just within.
        most, least = (0.5 * self.most if self.too_large else self.most), self.LEAST * (2 if self.too_small else 1)
        large = sorted((name for name in usual if usual[name] > most), key=lambda name: -usual[name])
        small = sorted((name for name in usual if usual[name] < least * middle), key=usual.__getitem__)
        if large:  # beside those anything is small
            small = []
        findings = []
        if large and not self.too_large:
            findings.append(self._large(iteration, usual, large))
        if small and not self.too_small:
            findings.append(self._small(iteration, usual, small, middle))
        self.too_large, self.too_small = bool(large), bool(small)
        return findings

    def _large(self, iteration: int, usual: Mapping[str, float], names: list[str]) -> Finding:
        ratio = usual[names[0]]
        return Finding(
            "update_ratio",
            "warning",
            f"a step changes {names[0]} by {ratio:.2g} of its norm (most: {self.most:g}){_others(names)}",
            iteration,
            iteration,
            subject=names[0],
            evidence={"ratio": ratio, "most": self.most, "parameters": names[:NAMED], "parameters_in_all": len(names)},
            confidence=0.5,  # too few were seen to say
            advice=given(
                change_rate(self.settings, max(0.1, 0.1 * self.most / ratio), "steps of a hundredth of the weights"),
                warm_up(self.settings),
            ),
        )

    def _small(self, iteration: int, usual: Mapping[str, float], names: list[str], middle: float) -> Finding:
        ratio = usual[names[0]]
        return Finding(
            "update_ratio",
            "info",
            f"a step changes {names[0]} by {ratio:.2g} of its norm, and others by {middle:.2g}{_others(names)}",
            iteration,
            iteration,
            subject=names[0],
            evidence={"ratio": ratio, "middle": middle, "parameters": names[:NAMED], "parameters_in_all": len(names)},
            confidence=0.5,  # too few were seen to say
            advice=(
                Advice(
                    "",
                    "these hardly learn: see whether their gradients are cut off, or give them a group in"
                    " optimizer.groups with a rate of their own",
                ),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The latest ratios of each parameter."""
        return {
            "too_large": self.too_large,
            "too_small": self.too_small,
            "last": self._last,
            "ratios": {name: list(seen) for name, seen in self._ratios.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.too_large, self.too_small, self._last = state["too_large"], state["too_small"], state["last"]
        self._ratios = {name: deque(seen, maxlen=self.MEASURED) for name, seen in state["ratios"].items()}


def _others(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""

"""Finds units that never fire, and parameters that no gradient ever reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, given
from ignition.stability.finding import Advice, Finding

NAMED = 10  # so many layers or parameters are named


class DeadUnits:
    """Finds layers of which more than ``share`` of the units are 0 for every sample, measured twice in a row.

    Units that fire for none of some hundred samples get no gradient through a ReLU, and do not come back (Lu et al.,
    Dying ReLU and initialization, 2020). Some are dead in every network of ReLUs; half of a layer is another matter.
    It has ended when no layer has more than half of ``share``.

    Found in 10 of 10 small trainings with 30 times the usual rate, and in none of 60 healthy ones
    (benchmarks/evaluation_detectors.py).

    Args:
        share: of a layer's units.
        settings: those of the run, for the advice.

    >>> dead = DeadUnits()
    >>> found = [dead.update(i, {"stem": (3, 32), "middle": (60, 64)}) for i in (1, 2)]
    >>> found[-1].message
    '60 of 64 units of middle never fire'
    """

    IN_ROW = 2

    def __init__(self, share: float = 0.5, *, settings: RunSettings = RunSettings()):
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must be a number between 0 and 1")
        self.share, self.settings = share, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a known change."""
        self.active = False
        self._last = -1
        self._in_row: dict[str, int] = {}

    def update(self, iteration: int, units: Mapping[str, tuple[int, int]]) -> Finding | None:
        """Look at a measurement.

        Args:
            units: for each layer, how many units never fired over the samples looked at, and how many it has.
        """
        if iteration <= self._last:
            return None
        self._last = iteration
        shares = {name: dead / total for name, (dead, total) in units.items() if total > 0}
        if all(share <= 0.5 * self.share for share in shares.values()):
            self.active = False
        for name, share in shares.items():
            self._in_row[name] = self._in_row.get(name, 0) + 1 if share > self.share else 0
        names = [name for name in shares if self._in_row[name] >= self.IN_ROW]
        if self.active or not names:
            return None
        self.active = True
        names.sort(key=lambda name: -shares[name])
        dead, total = units[names[0]]
        others = f"; {len(names) - 1} more such layer{'s' * (len(names) > 2)}" if len(names) > 1 else ""
        return Finding(
            "dead_units",
            "warning",
            f"{dead} of {total} units of {names[0]} never fire{others}",
            iteration,
            iteration,
            subject=names[0],
            evidence={"share": shares[names[0]], "layers": names[:NAMED], "layers_in_all": len(names)},
            confidence=0.9,
            advice=given(
                change_rate(self.settings, 0.2, "one step that is too large pushes units below 0 for every input"),
                Advice(
                    "", "begin anew: dead units stay dead. LeakyReLU and GELU cannot die, and norms keep units alive"
                ),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """How often in a row each layer had too many."""
        return {"active": self.active, "last": self._last, "in_row": dict(self._in_row)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._in_row = state["active"], state["last"], dict(state["in_row"])


class UntouchedParameters:
    """Finds parameters that had no gradient, or nothing but zeros, in any of the first ``steps`` steps.

    Exact. Parameters that are frozen on purpose are left out by the caller; branches that are used later, or by few
    samples, are the false alarms. Told once; more of them later are none: a count only grows.

    Args:
        steps: how many are waited for.

    >>> untouched = UntouchedParameters()
    >>> untouched.update(50, {"stem.weight": 50, "head.bias": 0}, 50).message
    'no gradient has reached head.bias in 50 steps'
    """

    def __init__(self, steps: int = 50):
        if steps < 1:
            raise ValueError(f"steps is {steps}; it must be at least 1")
        self.steps = steps
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a known change."""
        self.active = False
        self._told = False
        self._last = -1

    def update(self, iteration: int, touched: Mapping[str, int], steps: int) -> Finding | None:
        """Look at the counts.

        Args:
            touched: for each parameter, in how many steps some element of its gradient was not 0.
            steps: how many steps there were.
        """
        if iteration <= self._last:
            return None
        self._last = iteration
        names = [name for name, count in touched.items() if count == 0]
        if not names:
            self.active = False
        if self._told or not names or steps < self.steps:
            return None
        self.active = self._told = True
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return Finding(
            "untouched_parameters",
            "warning",
            f"no gradient has reached {names[0]}{others} in {steps} steps",
            iteration,
            iteration,
            subject=names[0],
            evidence={"parameters": names[:NAMED], "parameters_in_all": len(names), "steps": steps},
            advice=(
                Advice("", "see whether the forward pass uses them, and look for a detach or no_grad on the way"),
                Advice("", "what is frozen on purpose says so: requires_grad_(False)"),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Whether they were told."""
        return {"active": self.active, "told": self._told, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._told, self._last = state["active"], state["told"], state["last"]

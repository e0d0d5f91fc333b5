"""Finds evaluations that measure NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignition.stability.finding import Advice, Finding


class NonFiniteEvaluation:
    """Finds an evaluation whose loss, or metric that matters, is not finite, though training may go on as ever.

    Running statistics are what training does not read and evaluation does: once a NaN is in those of a batch norm,
    nothing else shows it.

    >>> finding = NonFiniteEvaluation().update(400, {"val/loss": float("nan"), "val/epe": 1.0})
    >>> finding.message
    'val/loss is nan at iteration 400'
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.active = False

    def update(self, iteration: int, values: Mapping[str, float]) -> Finding | None:
        """Look at an evaluation's values by name."""
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        began, self.active = bool(broken) and not self.active, bool(broken)
        if not began:
            return None
        return Finding(
            "non_finite_evaluation",
            "critical",
            f"{broken[0]} is {values[broken[0]]} at iteration {iteration}",
            iteration,
            iteration,
            subject=broken[0],
            evidence={"metrics": broken},
            advice=(
                Advice("", "look for NaN in running statistics (batch norm) and in the validation data"),
                Advice("", "the best checkpoint is from before it"),
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Whether the last one was so."""
        return {"active": self.active}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active = state["active"]

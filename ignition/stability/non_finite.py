"""Finds NaN and infinity, and says which term of the loss, which parameters and which samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ignition.stability.advice import RunSettings, change_rate, given, weigh
from ignition.stability.finding import Advice, Finding

NAMED = 10  # so many parameters are named; a forward pass that went wrong spoils all of them


class NonFinite:
    """Finds losses and gradients that are not finite.

    Exact, so there is nothing to set. It is over with the first iteration in which all is finite. Gradients alone, of
    a loss that was scaled for fp16, are how the scaler finds its scale: say so with ``scaled``, and none is found.

    Args:
        settings: those of the run, for the advice.

    >>> finding = NonFinite().update(7, {"xy": 0.5, "kl": float("inf")}, samples=[31, 4])
    >>> finding.message, finding.subject, finding.advice[0].override
    ("loss term 'kl' is inf at iteration 7", 'kl', 'loss.kl=0')
    """

    def __init__(self, *, settings: RunSettings = RunSettings()):
        self.settings = settings
        self.active = False
        self._last = -1
        self._in_row = 0

    def reset(self) -> None:
        """Forget what was found."""
        self.active, self._in_row = False, 0

    def update(
        self,
        iteration: int,
        losses: Mapping[str, float],
        gradients: Mapping[str, float] | None = None,
        *,
        samples: Sequence[int] = (),
        scaled: bool = False,
    ) -> Finding | None:
        """Look at an iteration.

        Args:
            losses: the terms of the loss by name; a loss without terms goes by the name of ``loss``.
            gradients: norms of gradients by parameter, where they are known; that of all together goes by ``all``.
            samples: the indices of the batch's samples.
            scaled: the loss was scaled, and gradients may overflow.
        """
        if iteration <= self._last:
            return None
        self._last = iteration
        terms = [name for name, value in losses.items() if not math.isfinite(value)]
        parameters = [name for name, norm in (gradients or {}).items() if not math.isfinite(norm)]
        if not terms and (scaled or not parameters):
            self.reset()
            return None
        self._in_row += 1
        if self.active:
            return None
        self.active = True
        return self._finding(iteration, losses, terms, parameters, samples)

    def _finding(
        self,
        iteration: int,
        losses: Mapping[str, float],
        terms: list[str],
        parameters: list[str],
        samples: Sequence[int],
    ) -> Finding:
        if terms:
            several = f", and {len(terms) - 1} more" if len(terms) > 1 else ""
            what = f"loss term '{terms[0]}'" if terms[0] != "loss" else "loss"
            message = f"{what} is {losses[terms[0]]}{several} at iteration {iteration}"
        else:
            share = "" if parameters == ["all"] else f" of {len(parameters)} parameters, first '{parameters[0]}',"
            message = f"gradient{share} not finite at iteration {iteration}"
        leave_out = None
        if terms and terms != ["loss"]:
            leave_out = Advice(
                weigh(self.settings, dict.fromkeys(terms, 0.0), losses),
                "leaves the term out; look in it for a logarithm, a root, a division or an exponential near its limit",
            )
        precision = None
        if self.settings.half_precision:
            precision = Advice("trainer.amp=bf16", "it has the range of float32; fp16 ends at 65504")
        look = Advice("", f"look at the samples {list(samples)}") if samples else None
        rate = change_rate(self.settings, 0.5, "if it comes back with other samples, the weights are at fault")
        return Finding(
            "non_finite",
            "critical",
            message,
            iteration,
            iteration,
            subject=(terms or parameters)[0],
            evidence={
                "terms": [f"{name}={losses[name]}" for name in terms],
                "parameters": parameters[:NAMED],
                "parameters_in_all": len(parameters),
                "samples": list(samples),
            },
            advice=given(leave_out, look, precision, rate),
        )

    @property
    def in_row(self) -> int:
        """How many iterations in a row, up to the latest, were not finite."""
        return self._in_row

    def state_dict(self) -> dict[str, Any]:
        """Whether one is on, and for how long."""
        return {"active": self.active, "last": self._last, "in_row": self._in_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._in_row = state["active"], state["last"], state["in_row"]

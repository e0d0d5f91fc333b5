"""Finds a validation loss that jumps up and down."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from ignition.stability.advice import RunSettings, change_rate, clip, given
from ignition.stability.finding import Advice, Finding
from ignition.stability.trend import around_line


class UnstableValidation:
    """Finds validation losses that scatter around their line by more than ``share`` of what has been gained so far.

    The line is that of least squares through the last ``window`` evaluations, and the gain is the first value less the
    best. A loss that just falls, or just rises, but in a curve, lies far from a line as well: so it counts only as far
    as twice the second largest rise within the window, and twice the largest fall.

    Scatter below ``least`` of the values themselves is never found: where the first evaluation comes late, as in
    fine-tuning, all of the gain may be small. It has ended when the scatter is half of what it takes.

    Noise of 20 % of the gain, put into 654 good real runs, was found within ten evaluations in 85 %, of 10 % in 21 %.
    It speaks of 2 % of the good ones as they are, and of 8 % where the untrained network was not evaluated
    (benchmarks/evaluation_detectors.py): of tiny validation sets, and of what settles later.

    Args:
        share: of the gain, above which it is found.
        window: evaluations.
        least: share of the median value that the scatter must exceed.
        mode: ``max`` for a metric of which more is better.
        subject: the metric, if it is not the validation loss.
        settings: those of the run, for the advice.

    >>> unstable = UnstableValidation()
    >>> findings = [unstable.update(i, loss) for i, loss in enumerate([0.9, 0.5, 0.43, 0.57, 0.44, 0.58])]
    >>> findings[-1].message
    'validation loss scatters by 0.058 in 5 evaluations, 12.3 % of what it has gained so far'
    """

    def __init__(
        self,
        share: float = 0.1,
        *,
        window: int = 5,
        least: float = 0.02,
        mode: Literal["min", "max"] = "min",
        subject: str = "",
        settings: RunSettings = RunSettings(),
    ):
        if not share > 0:
            raise ValueError(f"share is {share}; it must be a number above 0")
        if window < 4:
            raise ValueError(f"window is {window}; it counts evaluations, and scatter around a line takes at least 4")
        if not least >= 0:
            raise ValueError(f"least is {least}; it must be a number of at least 0")
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; it can be 'min' or 'max'")
        self.share, self.window, self.least, self.mode = share, window, least, mode
        self.subject, self.settings = subject, settings
        self.reset()

    def reset(self) -> None:
        """Begin anew: a known change, such as a restart of the schedule, makes jumps usual."""
        self.active = False
        self._last = -1
        self._first: float | None = None
        self._best = math.inf
        self._values: deque[tuple[int, float]] = deque(maxlen=self.window)

    def update(self, iteration: int, validation: float) -> Finding | None:
        """Look at an evaluation."""
        if iteration <= self._last or not math.isfinite(validation):
            return None
        self._last = iteration
        value = -validation if self.mode == "max" else validation
        if self._first is None:
            self._first = value
        self._best = min(self._best, value)
        self._values.append((iteration, value))
        if len(self._values) < self.window:
            return None
        places, values = zip(*self._values)
        steps = sorted(after - before for before, after in pairwise(values))
        scatter = max(min(around_line(places, values), 2 * steps[-2], -2 * steps[0]), 0.0)
        gain = self._first - self._best
        limit = max(self.share * gain, self.least * abs(sorted(values)[len(values) // 2]))
        if scatter <= 0.5 * limit:
            self.active = False
        if self.active or scatter <= limit:
            return None
        self.active = True
        of_gain = f", {100 * scatter / gain:.3g} % of what it has gained so far" if gain > 0 else ""
        return Finding(
            "unstable_validation",
            "warning",
            f"{self.subject or 'validation loss'} scatters by {scatter:.3g} in {self.window} evaluations{of_gain}",
            places[0],
            iteration,
            subject=self.subject,
            evidence={"scatter": scatter, "gain": gain, "values": [self._shown(v) for v in values]},
            confidence=0.8,
            advice=given(
                change_rate(self.settings, 0.5, "smaller steps, smaller jumps from one epoch to the next"),
                self._larger_batch(),
                clip(self.settings),
                Advice("ema.decay=0.999", "averaged weights jump less; they are evaluated beside the others"),
                Advice("", "fewer loss terms, or a larger validation set: a small one jumps by itself"),
            ),
        )

    def _shown(self, value: float) -> float:
        return -value if self.mode == "max" else value

    def _larger_batch(self) -> Advice:
        why = "the gradient of more samples points more steadily"
        size = self.settings.batch_size
        if size is None:
            return Advice("", f"twice the batch size (data.batch_size): {why}")
        return Advice(f"data.batch_size={2 * size}", why)

    def state_dict(self) -> dict[str, Any]:
        """The latest values, the first and the best."""
        return {
            "active": self.active,
            "last": self._last,
            "first": self._first,
            "best": self._best if math.isfinite(self._best) else None,
            "values": [list(entry) for entry in self._values],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.active, self._last, self._first = state["active"], state["last"], state["first"]
        self._best = math.inf if state["best"] is None else state["best"]
        self._values = deque(((entry[0], entry[1]) for entry in state["values"]), maxlen=self.window)

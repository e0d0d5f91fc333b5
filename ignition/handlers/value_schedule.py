"""Sets any number by a schedule: a loss weight, dropout, the strength of an augmentation, the decay of an average."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine
from torch.optim import Optimizer

from ignition.events import StepEvents, watch
from ignition.handlers.improvement import check_same
from ignition.handlers.schedules import Schedule


class ValueSchedule:
    """Gives ``apply`` a number that a schedule moves between ``low`` and ``high``: at once, and whenever it changes.

    The schedule's step is whatever `attach` is told to follow, optimizer steps if nothing else is said. All schedules
    of learning rates will do: `Warmup` goes from ``low`` to ``high``, `Cosine` from ``high`` to ``low``.

    Args:
        schedule: a factor for each step.
        apply: takes the number and puts it where it is used.
        low: the number where the factor is 0.
        high: the number where it is 1. It may be the smaller one.

    Raises:
        ValueError: the number is not finite; names the step.

    >>> import torch
    >>> from ignition.handlers import Warmup
    >>> dropout = torch.nn.Dropout(0.5)
    >>> rising = ValueSchedule(Warmup(2, start_factor=0.0), lambda p: setattr(dropout, "p", p), low=0.1, high=0.3)
    >>> seen = [dropout.p]
    >>> for step in range(3):
    ...     rising.step()
    ...     seen.append(dropout.p)
    >>> seen
    [0.1, 0.2, 0.3, 0.3]
    """

    def __init__(self, schedule: Schedule, apply: Callable[[float], Any], *, low: float = 0.0, high: float = 1.0):
        for name, bound in (("low", low), ("high", high)):
            if not math.isfinite(bound):
                raise ValueError(f"{name} is {bound}; it must be a finite number")
        self.schedule, self.apply, self.low, self.high = schedule, apply, low, high
        self.steps = 0
        self.clock: str | None = None
        self.value = low
        self._apply()

    def attach(
        self, engine: Engine, optimizer: Optimizer | None = None, event: Any = StepEvents.STEP_COMPLETED
    ) -> None:
        """Go on by one step whenever ``event`` fires: ``Events.EPOCH_COMPLETED`` makes it a schedule of epochs.

        An engine that is not ours needs the ``optimizer``, to know of its steps.
        """
        if optimizer is not None:
            watch(engine, optimizer)
        elif isinstance(event, StepEvents) and not engine.has_registered_events(event):
            raise ValueError(
                "this engine knows no optimizer steps: attach(engine, optimizer) lets it follow those of an optimizer, "
                "attach(engine, event=Events.ITERATION_COMPLETED) counts batches"
            )
        self.clock = getattr(event, "value", "several events")
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine) -> None:
        self.step()

    def step(self) -> None:
        """A step is done: set the number of the next one. The core, for any loop."""
        self.steps += 1
        before, self.value = self.value, self._scheduled()
        if self.value != before:
            self.apply(self.value)

    def _scheduled(self) -> float:
        factor = self.schedule(self.steps)
        value = (1.0 - factor) * self.low + factor * self.high
        if not math.isfinite(value):
            raise ValueError(f"the schedule gives {factor} at step {self.steps}; the value would be {value}")
        return value

    def _apply(self) -> None:
        self.value = self._scheduled()
        self.apply(self.value)

    def state_dict(self) -> dict[str, Any]:
        """How many steps are done, and of what."""
        return {"steps": self.steps, "clock": self.clock}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place, and apply the number again.

        Raises:
            ValueError: the saved steps are of another event.
        """
        if state["clock"] is not None and self.clock is not None:
            check_same(state, clock=self.clock)
        self.steps = state["steps"]
        self._apply()

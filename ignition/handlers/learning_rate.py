"""Sets the learning rate: by a schedule over optimizer steps, and lower where a metric stands still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

from ignition.events import StepEvents, watch
from ignition.handlers.improvement import Mode, better, check_mode, check_same, read_score
from ignition.handlers.schedules import Schedule


class LearningRate:
    """Gives every parameter group its own rate times ``schedule(steps)`` times `scale`.

    Only steps that the optimizer has taken count: not those left out, nor batches that were accumulated. The rate of
    the first step is set at once. `scale` is lowered by `Plateau`; ``min_lr`` bounds what it does.

    Args:
        optimizer: its groups' ``lr`` as they are now are the base rates.
        schedule: a factor for each step, for instance `OneCycle`.
        min_lr: `scale` brings no group's rate below this: one number, or one for each group. Where the schedule
            itself is lower (warm-up), the schedule holds.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> rate = LearningRate(optimizer, lambda step: 1 / (1 + step))
    >>> rate.step()
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, *, min_lr: float | Sequence[float] = 0.0):
        self.optimizer, self.schedule = optimizer, schedule
        self.base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.steps = 0
        self.scale = 1.0
        self.bound(min_lr)

    @property
    def rates(self) -> list[float]:
        """Each group's rate for the coming step."""
        factor = self.schedule(self.steps)
        full = [base * factor for base in self.base_rates]
        return [max(rate * self.scale, min(rate, floor)) for rate, floor in zip(full, self.min_lr, strict=True)]

    def bound(self, min_lr: float | Sequence[float]) -> None:
        """Take ``min_lr`` as the floor of each group from here on."""
        count = len(self.base_rates)
        floors = [float(min_lr)] * count if isinstance(min_lr, (int, float)) else [float(floor) for floor in min_lr]
        if len(floors) != count:
            raise ValueError(f"min_lr has {len(floors)} numbers; the optimizer has {count} parameter groups")
        if not all(math.isfinite(floor) and floor >= 0 for floor in floors):
            raise ValueError(f"min_lr is {min_lr}; it must be at least 0")
        self.min_lr = floors
        self._set()

    def attach(self, engine: Engine, event: Any = StepEvents.STEP_COMPLETED) -> None:
        """Go on by one step whenever the optimizer has stepped."""
        watch(engine, self.optimizer)
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine) -> None:
        self.step()

    def step(self) -> None:
        """The optimizer has stepped: set the rate of its next step. The core, for any loop."""
        self.steps += 1
        self._set()

    def lower(self, factor: float) -> bool:
        """Multiply `scale` by ``factor``, at once; False if every group was at its floor already."""
        if all(base * self.scale <= floor for base, floor in zip(self.base_rates, self.min_lr, strict=True)):
            return False
        self.scale *= factor
        self._set()
        return True

    def _set(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):  # capturable and compiled optimizers read the same tensor again
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, and the base rates that it was started with."""
        return {"steps": self.steps, "scale": self.scale, "base_rates": list(self.base_rates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place with the saved base rates, and set the rates.

        Raises:
            ValueError: the optimizer has another number of parameter groups.
        """
        if len(state["base_rates"]) != len(self.base_rates):
            raise ValueError(
                f"the saved state has {len(state['base_rates'])} parameter groups, "
                f"the optimizer has {len(self.base_rates)}. Resume with the groups it was saved with."
            )
        self.steps, self.scale, self.base_rates = state["steps"], state["scale"], list(state["base_rates"])
        self._set()


class Plateau:
    """Lowers a `LearningRate` by ``factor`` where a metric has stood still for more than ``patience`` evaluations.

    Counts as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` does with a relative threshold. A score that is not
    finite is a bad one. The floor holds for every parameter group.

    Args:
        learning_rate: what to lower; its schedule goes on.
        metric: name in ``evaluator.state.metrics``.
        mode: ``min`` where lower is better, ``max`` where higher is.
        factor: what the rate is multiplied by, between 0 and 1.
        patience: evaluations without improvement that are put up with.
        min_lr: no group's rate is brought below this: one number, or one for each group.
        threshold: share of the best score's size by which a better one must differ.
        cooldown: evaluations after a lowering in which bad ones do not count.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> plateau = Plateau(LearningRate(optimizer, lambda step: 1.0), metric="loss", mode="min", patience=0)
    >>> [plateau.update(score) for score in (1.0, 0.9, 0.9)], round(optimizer.param_groups[0]["lr"], 6)
    ([False, False, True], 0.01)
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        metric: str,
        mode: Mode,
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float | Sequence[float] = 0.0,
        threshold: float = 1e-4,
        cooldown: int = 0,
    ):
        if not 0 < factor < 1:
            raise ValueError(f"factor is {factor}; it lowers the rate, so it must be between 0 and 1")
        for name, value in (("patience", patience), ("threshold", threshold), ("cooldown", cooldown)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be at least 0")
        learning_rate.bound(min_lr)
        self.learning_rate, self.metric, self.mode = learning_rate, metric, check_mode(mode)
        self.factor, self.patience, self.threshold, self.cooldown = factor, patience, threshold, cooldown
        self.best: float | None = None
        self.bad = 0
        self.cooling = 0

    def attach(self, evaluator: Engine) -> None:
        """Look at the metric whenever ``evaluator`` completes."""
        evaluator.add_event_handler(Events.COMPLETED, self)

    def __call__(self, evaluator: Engine) -> None:
        self.update(read_score(evaluator, self.metric))

    def update(self, score: float) -> bool:
        """Take in the score of an evaluation; whether the rate was lowered. The core, for any loop."""
        if better(score, self.best, self.mode, self.threshold, relative=True):
            self.best, self.bad = score, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad <= self.patience:
            return False
        self.cooling, self.bad = self.cooldown, 0
        return self.learning_rate.lower(self.factor)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, with the settings that give them their meaning."""
        return {name: getattr(self, name) for name in ("metric", "mode", "best", "bad", "cooling")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was left.

        Raises:
            ValueError: the state is of another metric or mode.
        """
        check_same(state, metric=self.metric, mode=self.mode)
        self.best, self.bad, self.cooling = state["best"], state["bad"], state["cooling"]

"""Lowers the learning rate where a metric stands still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events

from ignition.handlers.improvement import Mode, better, check_mode, check_same, read_score

if TYPE_CHECKING:
    from ignition.handlers.learning_rate import LearningRate


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
        min_lr: no group's rate is brought below this: one number, or one for each group. None: as `LearningRate` says.
        threshold: share of the best score's size by which a better one must differ.
        cooldown: evaluations after a lowering in which bad ones do not count.

    >>> import torch
    >>> from ignition.handlers import Constant, LearningRate
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> plateau = Plateau(LearningRate(optimizer, Constant()), metric="loss", mode="min", patience=0)
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
        min_lr: float | Sequence[float] | None = None,
        threshold: float = 1e-4,
        cooldown: int = 0,
    ):
        if not 0 < factor < 1:
            raise ValueError(f"factor is {factor}; it lowers the rate, so it must be between 0 and 1")
        for name, value in (("patience", patience), ("threshold", threshold), ("cooldown", cooldown)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be at least 0")
        if min_lr is not None:
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

"""Ends a run that no longer gets better."""

from __future__ import annotations

import logging
import math
from typing import Any

from ignite.engine import Engine, Events

from ignition.events import stop
from ignition.handlers.improvement import Mode, better, check_mode, check_same, read_score

logger = logging.getLogger(__name__)


class EarlyStopping:
    """Stops a run, with a reason, after ``patience`` evaluations without improvement.

    A score that is not finite is never better; ``patience`` of them in a row stop with a reason of their own. What it
    knows survives a resume, and nothing else resets it.

    Args:
        metric: name in ``evaluator.state.metrics``; a tag in front (``val/loss`` for ``loss``) is shown in the reason.
        mode: ``min`` where lower is better, ``max`` where higher is.
        patience: evaluations without improvement that end the run.
        min_delta: what counts as improvement must exceed this.
        relative: ``min_delta`` is a share of the best score's size.
        cumulative: small improvements add up: scores are compared with the last that counted as an improvement, not
            with the best so far.
        start_epoch: evaluations in epochs before this one are not looked at.
        target: a score as good as this ends the run at once.

    >>> stopper = EarlyStopping("val/loss", "min", patience=2)
    >>> [stopper.update(score, epoch) for epoch, score in enumerate([0.5, 0.4, 0.6, 0.4], start=1)]
    [False, False, False, True]
    >>> stopper.reason
    'val/loss has not improved on 0.4 (epoch 2) for 2 evaluations'
    """

    def __init__(
        self,
        metric: str,
        mode: Mode,
        *,
        patience: int,
        min_delta: float = 0.0,
        relative: bool = False,
        cumulative: bool = False,
        start_epoch: int = 0,
        target: float | None = None,
    ):
        if patience < 1:
            raise ValueError(f"patience is {patience}; it counts evaluations, so it must be at least 1")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta is {min_delta}; it must be a number of at least 0, whatever the mode")
        if target is not None and not math.isfinite(target):
            raise ValueError(f"target is {target}; it must be a finite number, or None for no target")
        self.metric, self.mode, self.patience = metric, check_mode(mode), patience
        self.min_delta, self.relative, self.cumulative = min_delta, relative, cumulative
        self.start_epoch, self.target = start_epoch, target
        self.best: float | None = None
        self.best_epoch = 0
        self.waited = 0
        self.non_finite = 0
        self.reason: str | None = None

    def attach(self, evaluator: Engine, trainer: Engine) -> None:
        """Look at the metric whenever ``evaluator`` completes; stop ``trainer``."""

        def look(evaluator: Engine) -> None:
            if self.update(read_score(evaluator, self.metric), trainer.state.epoch) and self.reason is not None:
                stop(trainer, self.reason)

        evaluator.add_event_handler(Events.COMPLETED, look)

    def update(self, score: float, epoch: int) -> bool:
        """Take in the score of an evaluation; whether to stop. `reason` then says why. The core, for any loop."""
        if epoch < self.start_epoch:
            return False
        if better(score, self.best, self.mode, self.min_delta, self.relative):
            self.waited = 0
            self.best, self.best_epoch = score, epoch
        else:
            self.waited += 1
            if not self.cumulative and better(score, self.best, self.mode):
                self.best, self.best_epoch = score, epoch
        self.non_finite = 0 if math.isfinite(score) else self.non_finite + 1
        self.reason = self._judge(score, epoch)
        return self.reason is not None

    def _judge(self, score: float, epoch: int) -> str | None:
        if self.target is not None and math.isfinite(score) and not better(self.target, score, self.mode):
            return f"{self.metric} reached its target {self.target:.6g} with {score:.6g} (epoch {epoch})"
        if self.non_finite >= self.patience:
            return f"{self.metric} has not been finite for {_evaluations(self.non_finite)} (now {score}, epoch {epoch})"
        if self.waited >= self.patience:
            share = f"{self.min_delta:.6g} of its size" if self.relative else f"{self.min_delta:.6g}"
            margin = f" by more than {share}" if self.min_delta else ""
            best = "any value" if self.best is None else f"{self.best:.6g} (epoch {self.best_epoch})"
            return f"{self.metric} has not improved{margin} on {best} for {_evaluations(self.waited)}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, with the settings that give them their meaning."""
        names = ("metric", "mode", "patience", "best", "best_epoch", "waited", "non_finite")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was left. Another patience is taken, and told; another metric or mode is an error.

        Raises:
            ValueError: the state is of another metric or mode.
        """
        check_same(state, metric=self.metric, mode=self.mode)
        if state["patience"] != self.patience:
            logger.info("%s: patience is %d from here on, it was %d", self.metric, self.patience, state["patience"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.waited, self.non_finite = state["waited"], state["non_finite"]


def _evaluations(count: int) -> str:
    return f"{count} evaluation" if count == 1 else f"{count} evaluations"

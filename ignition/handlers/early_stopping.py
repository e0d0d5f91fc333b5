"""Ends a run that no longer gets better."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.checkpoint_file import give_state, state_of
from ignition.events import Diverged, stop
from ignition.handlers.improvement import Mode, better, check_mode, check_same, read_score

logger = logging.getLogger(__name__)

Unit = Literal["evaluations", "epochs", "iterations"]

_SAVED = ("metric", "mode", "unit", "patience", "best", "best_place", "place", "waited", "non_finite", "reason")


class EarlyStopping:
    """Stops a run, with a reason, after ``patience`` evaluations, epochs or iterations without improvement.

    A score that is not finite is never better; ``patience`` of them in a row stop with a reason of their own. What it
    knows survives a resume, and nothing else resets it. All processes go by the score that process 0 has.

    Args:
        metric: name in ``evaluator.state.metrics``; a tag in front (``val/loss`` for ``loss``) is shown in the reason.
        mode: ``min`` where lower is better, ``max`` where higher is.
        patience: how long to wait for an improvement.
        min_delta: what counts as improvement must exceed this.
        relative: ``min_delta`` is a share of the best score's size.
        cumulative: small improvements add up: scores are compared with the last that counted as an improvement, not
            with the best so far.
        start: evaluations up to this one, or in epochs or iterations up to this one, are not looked at.
        target: a score as good as this ends the run at once.
        diverged: a score as bad as this raises `Diverged`: that is a failure and no success.
        unit: what ``patience`` and ``start`` count.

    Attributes:
        best: the best score so far, None before the first.
        improved: whether the last score is the best so far.
        reason: why to stop, once that is known.

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
        start: int = 0,
        target: float | None = None,
        diverged: float | None = None,
        unit: Unit = "evaluations",
    ):
        if unit not in ("evaluations", "epochs", "iterations"):
            raise ValueError(f"unit is {unit!r}; it can be 'evaluations', 'epochs' or 'iterations'")
        if patience < 1:
            raise ValueError(f"patience is {patience}; it counts {unit}, so it must be at least 1")
        if start < 0:
            raise ValueError(f"start is {start}; it counts {unit}, so it must be at least 0")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta is {min_delta}; it must be a number of at least 0, whatever the mode")
        for name, limit in (("target", target), ("diverged", diverged)):
            if limit is not None and not math.isfinite(limit):
                raise ValueError(f"{name} is {limit}; it must be a finite number, or None for none")
        if target is not None and diverged is not None and not better(target, diverged, mode):
            raise ValueError(f"target is {target} and diverged is {diverged}; with mode {mode!r} that is no better")
        self.metric, self.mode, self.patience, self.unit = metric, check_mode(mode), patience, unit
        self.min_delta, self.relative, self.cumulative = min_delta, relative, cumulative
        self.start, self.target, self.diverged = start, target, diverged
        self.best: float | None = None
        self.best_place = ""  # as people read it: "epoch 2"
        self.place = 0  # of the last evaluation, in units
        self.waited = 0
        self.non_finite = 0
        self.improved = False
        self.reason: str | None = None
        self._is_failure = False
        self._keep_weights = False
        self._weights: dict[str, Any] | None = None

    def attach(self, evaluator: Engine, trainer: Engine, *, restore_best: nn.Module | None = None) -> None:
        """Look at the metric whenever ``evaluator`` completes; stop ``trainer``.

        Args:
            restore_best: gets its best weights back when the trainer's run is over, unless it was interrupted to go on
                later. They are kept in host memory, and in the state: attach this before the checkpoint.
        """

        def look(evaluator: Engine) -> None:
            ends = self.update(read_score(evaluator, self.metric), trainer.state.epoch, trainer.state.iteration)
            if self.improved and restore_best is not None:
                self._weights = _on_host(state_of(restore_best))
            if ends and self._is_failure:
                raise Diverged(self.reason)
            if ends and self.reason is not None:
                stop(trainer, self.reason)

        def restore(trainer: Engine) -> None:
            ended = getattr(trainer.state, "stop", None)
            if self._weights is not None and (ended is None or ended.status == "stopped"):
                give_state(restore_best, self._weights)
                logger.info("%s: the weights are those of %s again", self.metric, self.best_place)

        evaluator.add_event_handler(Events.COMPLETED, look)
        if restore_best is not None:
            self._keep_weights = True
            trainer.add_event_handler(Events.COMPLETED, restore)

    def update(self, score: float, epoch: int | None = None, iteration: int | None = None) -> bool:
        """Take in the score of an evaluation; whether to stop. `reason` then says why. The core, for any loop.

        Raises:
            ValueError: ``epoch`` or ``iteration`` is missing where patience counts in them.
        """
        place = {"evaluations": self.place + 1, "epochs": epoch, "iterations": iteration}[self.unit]
        if place is None:
            raise ValueError(f"patience counts {self.unit}: update(score, {self.unit[:-1]}=...) has to say which it is")
        passed, self.place = place - max(self.place, self.start), place
        self.improved = False
        if place <= self.start:
            return False
        where = f"epoch {epoch}" if epoch is not None and self.unit != "iterations" else f"iteration {iteration}"
        where = where if (epoch, iteration) != (None, None) else f"evaluation {place}"
        self.waited += passed
        if better(score, self.best, self.mode, self.min_delta, self.relative):
            self.waited = 0
            self._take_as_best(score, where)
        elif not self.cumulative and better(score, self.best, self.mode):
            self._take_as_best(score, where)
        self.non_finite = 0 if math.isfinite(score) else self.non_finite + passed
        self.reason = self._judge(score, where)
        return self.reason is not None

    def _take_as_best(self, score: float, where: str) -> None:
        self.best, self.best_place, self.improved = score, where, True

    def _judge(self, score: float, where: str) -> str | None:
        self._is_failure = False
        if math.isfinite(score):
            if self.target is not None and not better(self.target, score, self.mode):
                return f"{self.metric} reached its target {self.target:.6g} with {score:.6g} ({where})"
            if self.diverged is not None and not better(score, self.diverged, self.mode):
                self._is_failure = True
                return f"{self.metric} is {score:.6g} ({where}), as bad as {self.diverged:.6g} or worse"
        if self.non_finite >= self.patience:
            return f"{self.metric} has not been finite for {self._lasting(self.non_finite)} (now {score}, {where})"
        if self.waited >= self.patience:
            share = f"{self.min_delta:.6g} of its size" if self.relative else f"{self.min_delta:.6g}"
            margin = f" by more than {share}" if self.min_delta else ""
            best = "any value" if self.best is None else f"{self.best:.6g} ({self.best_place})"
            return f"{self.metric} has not improved{margin} on {best} for {self._lasting(self.waited)}"
        return None

    def _lasting(self, count: int) -> str:
        return f"{count} {self.unit[:-1] if count == 1 else self.unit}"

    def state_dict(self) -> dict[str, Any]:
        """Numbers and strings, with the settings that give them their meaning; the best weights if they are kept."""
        state = {name: getattr(self, name) for name in _SAVED}
        return {**state, "weights": self._weights} if self._keep_weights else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was left. Another patience is taken, and told; another metric, mode or unit is an error.

        Raises:
            ValueError: the state is of another metric, mode or unit.
        """
        check_same(state, metric=self.metric, mode=self.mode, unit=self.unit)
        if state["patience"] != self.patience:
            logger.info("%s: patience is %d from here on, it was %d", self.metric, self.patience, state["patience"])
        for name in _SAVED[4:]:
            setattr(self, name, state[name])
        if self._keep_weights:
            self._weights = state.get("weights")
            if self._weights is None and self.best is not None:
                logger.warning(
                    "the best weights (%s %.6g, %s) were not kept: those of the best evaluation from here on will be",
                    self.metric, self.best, self.best_place,
                )  # fmt: skip


def _on_host(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }

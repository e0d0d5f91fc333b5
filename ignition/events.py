"""The events of one optimizer step, and how an engine that is not ours comes to fire them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, EventEnum
from torch.optim import Optimizer


class StepEvents(EventEnum):
    """Moments of one optimizer step; all can be filtered (``StepEvents.STEP_COMPLETED(every=10)``).

    ``GRADIENTS_READY``: gradients are accumulated and unscaled, the step has not been taken. A handler may change
    the gradients in place, read ``engine.state.loss``, or set ``engine.state.skip_step = True``.
    ``STEP_COMPLETED``: the optimizer has stepped. ``STEP_SKIPPED``: the step was left out, weights are untouched.
    ``STEP_RESTARTED``: memory was too small; the gradients are gone, and all batches since the last step are done
    again, fewer samples at a time. What forward passes have changed is to be put back.
    Filters count ``engine.state.steps``: steps tried since the run began, left-out ones included.
    """

    GRADIENTS_READY = "gradients_ready"
    STEP_COMPLETED = "step_completed"
    STEP_SKIPPED = "step_skipped"
    STEP_RESTARTED = "step_restarted"


class StabilityEvents(EventEnum):
    """What a `Stability` handler has found, one member for each finding; ``engine.state.finding`` is it.

    Fired on all processes of a run in the same iteration, after the handlers of that iteration.
    """

    NON_FINITE = "non_finite"
    NON_FINITE_EVALUATION = "non_finite_evaluation"
    LOSS_SPIKE = "loss_spike"
    SLOW_DIVERGENCE = "slow_divergence"
    DIVERGENCE = "divergence"
    EXPLODING_TERM = "exploding_term"
    GRADIENT_EXPLOSION = "gradient_explosion"
    GRADIENT_VANISHING = "gradient_vanishing"
    LEARNING_RATE_TOO_HIGH = "learning_rate_too_high"
    LEARNING_RATE_TOO_LOW = "learning_rate_too_low"
    UPDATE_RATIO = "update_ratio"
    DATA_WAIT = "data_wait"
    PLATEAU = "plateau"
    SLOW_CONVERGENCE = "slow_convergence"
    UNSTABLE_VALIDATION = "unstable_validation"
    OVERFITTING = "overfitting"
    DEAD_TERM = "dead_term"
    COLLAPSE = "collapse"
    LOSS_IMBALANCE = "loss_imbalance"
    LOSS_CONFLICT = "loss_conflict"
    DEAD_UNITS = "dead_units"
    UNTOUCHED_PARAMETERS = "untouched_parameters"
    RECOVERED = "recovered"


class Diverged(RuntimeError):
    """The run cannot go on: raised with the reason and the iteration. An exception, because it is not a success."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended before its last epoch: ``status`` as in status.json (``stopped``, ``preempted``), and why."""

    status: str
    reason: str


def stop(engine: Engine, reason: str, status: str = "stopped") -> None:
    """End ``engine``'s run after the handlers of the current event, as a success with a reason.

    The reason is kept as ``engine.state.stop``; where several handlers ask, the first one's stands.

    >>> engine = Engine(lambda engine, batch: stop(engine, "seen enough"))
    >>> engine.run([1, 2, 3]).iteration, engine.state.stop.reason
    (1, 'seen enough')
    """
    state: Any = engine.state
    if getattr(state, "stop", None) is None:
        state.stop = Stop(status, reason)
    engine.terminate()


def go_on(engine: Engine) -> None:
    """Forget that ``engine`` was stopped, so that its next ``run`` goes on from the iteration in its state.

    ignite would start a whole epoch there where the run before was ended within one.

    >>> engine = Engine(lambda engine, batch: stop(engine, "a pause") if engine.state.iteration == 2 else None)
    >>> _ = engine.run([1, 2, 3])
    >>> go_on(engine)
    >>> engine.state.epoch = 0  # of the epochs done, as after a resume
    >>> engine.run([1, 2, 3]).iteration
    3
    """
    state: Any = engine.state
    state.stop = None
    engine.should_terminate = False


def register_step_events(engine: Engine) -> None:
    """Let ``engine`` fire `StepEvents`. Only who fires them calls this: our own step, or `watch`."""
    if not engine.has_registered_events(StepEvents.GRADIENTS_READY):
        engine.register_events(*StepEvents, event_to_attr=dict.fromkeys(StepEvents, "steps"))
    engine.state.skip_step = False  # type: ignore[attr-defined]


def register_stability_events(engine: Engine) -> None:
    """Let ``engine`` fire `StabilityEvents`; filters count its iterations."""
    if not engine.has_registered_events(StabilityEvents.RECOVERED):
        engine.register_events(*StabilityEvents, event_to_attr=dict.fromkeys(StabilityEvents, "iteration"))


def watch(engine: Engine, optimizer: Optimizer) -> None:
    """Make a foreign ``engine`` fire `StepEvents` out of ``optimizer``'s own step hooks.

    Does nothing on an engine whose step fires them already, or for an optimizer watched before, so every handler may
    call it. A step is left out by taking all gradients away, which makes the optimizer's step a no-op. Under
    ``GradScaler`` a fused optimizer gets scaled gradients and the scale beside them: they are unscaled here, so that
    handlers always see true ones.

    >>> model = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> engine = Engine(lambda engine, batch: (model(batch).sum().backward(), optimizer.step()))
    >>> watch(engine, optimizer)
    >>> _ = engine.run([torch.ones(1, 1)] * 3)
    >>> engine.state.steps
    3
    """
    watched = getattr(engine, "_watched_optimizers", None)
    if watched is None:
        if engine.has_registered_events(StepEvents.GRADIENTS_READY):
            return  # its own step fires them
        watched = engine._watched_optimizers = []  # type: ignore[attr-defined]
        register_step_events(engine)
    if any(known is optimizer for known in watched):
        return
    watched.append(optimizer)
    optimizer.register_step_pre_hook(_StepStarting(engine))
    optimizer.register_step_post_hook(_StepEnded(engine))


class _StepStarting:
    """Pre-hook of a watched optimizer: unscale, ask the handlers, take the gradients away if the step is left out."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def __call__(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state: Any = self.engine.state
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scale = getattr(optimizer, "grad_scale", None)
        state.loss_scale = 1.0 if scale is None else float(scale)
        if scale is not None:
            torch._foreach_mul_([p.grad for p in parameters], 1.0 / state.loss_scale)
            optimizer.grad_scale = None  # type: ignore[attr-defined]
        state.steps += 1
        state.skip_step = False
        self.engine.fire_event(StepEvents.GRADIENTS_READY)
        if state.skip_step:
            for parameter in parameters:
                parameter.grad = None


class _StepEnded:
    """Post-hook of a watched optimizer: tell whether the step was taken."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def __call__(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state: Any = self.engine.state
        skipped = state.skip_step
        self.engine.fire_event(StepEvents.STEP_SKIPPED if skipped else StepEvents.STEP_COMPLETED)

"""Keeps NaN and infinity out of the weights: looks before the step."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from ignite.engine import Engine
from torch.optim import Optimizer

from ignition import distributed
from ignition.events import Diverged, StepEvents, watch
from ignition.handlers.gradients import Gradients, read_together

Policy = Literal["skip", "stop"]

# What was not finite, as a number, so that processes can agree on it: the highest is told.
_FINE, _LOSS, _GRADIENT, _BOTH = range(4)
_WORDS = {_LOSS: "loss", _GRADIENT: "gradient", _BOTH: "loss and gradient"}


class NonFiniteSteps:
    """Leaves out every optimizer step whose loss or gradient is not finite, or ends the run there.

    Weights and the optimizer's moments stay as they were, and with a `BufferKeeper` so do buffers, which the forward
    pass has changed already. All processes leave out the same steps.

    Attach it after what changes gradients. It reads loss and gradient norm together, once a step: the one time that a
    step waits for the device, because whether to step has to be known before the step.

    Args:
        policy: ``skip`` steps, or ``stop`` the run at the first one.
        max_skips: how many steps may be left out in a row; one more and the run has diverged.

    Raises:
        Diverged: from within the run, with the iteration and what was not finite.

    >>> guard = NonFiniteSteps(max_skips=1)
    >>> guard.update(torch.tensor(1.0)), guard.update(torch.tensor(float("nan")))
    (False, True)
    """

    def __init__(self, *, policy: Policy = "skip", max_skips: int = 10):
        if policy not in ("skip", "stop"):
            raise ValueError(f"policy is {policy!r}; it can be 'skip' or 'stop'")
        if max_skips < 0:
            raise ValueError(f"max_skips is {max_skips}; it must be at least 0")
        self.policy, self.max_skips = policy, max_skips
        self.skipped = 0
        self.in_row = 0

    def attach(self, engine: Engine, optimizer: Optimizer, event: Any = StepEvents.GRADIENTS_READY) -> None:
        """Judge every step of ``optimizer`` in ``engine``, whoever made it."""
        watch(engine, optimizer)
        engine.add_event_handler(event, self, optimizer)

    def __call__(self, engine: Engine, optimizer: Optimizer) -> None:
        state: Any = engine.state
        if getattr(state, "gradient_norm_step", None) != state.steps:  # nobody has measured this step's gradients yet
            gradients = Gradients(p for group in optimizer.param_groups for p in group["params"])
            state.gradient_norm, state.gradient_norm_step = gradients.norm, state.steps
        scaled = getattr(state, "loss_scale", 1.0) > 1.0
        if self.update(state.gradient_norm, getattr(state, "loss", None), iteration=state.iteration, scaled=scaled):
            state.skip_step = True

    def update(
        self,
        norm: torch.Tensor,
        loss: torch.Tensor | float | None = None,
        *,
        iteration: int = 0,
        scaled: bool = False,
    ) -> bool:
        """Whether to leave out the step with this gradient norm and loss, both 0-dim. The core, for any loop.

        With ``scaled`` losses (fp16) a gradient that alone is not finite is how the scaler finds its scale: the step is
        left out, and does not count as trouble.

        Raises:
            Diverged: the policy is ``stop``, or too many steps in a row had to be left out.
        """
        norm_value, loss_value = read_together(norm, loss)
        fault = _GRADIENT * (not math.isfinite(norm_value)) + _LOSS * (not math.isfinite(loss_value))
        agreed = distributed.agree(fault)
        if agreed == _FINE:
            self.in_row = 0
            return False
        self.skipped += 1
        if scaled and agreed == _GRADIENT:
            return True
        self.in_row += 1
        if self.policy == "stop" or self.in_row > self.max_skips:
            here = "" if fault else "on another process; here "
            told = "" if loss is None else f"loss {loss_value:.6g}, "
            row = "" if self.in_row == 1 else f", the last of {self.in_row} steps in a row"
            raise Diverged(
                f"{_WORDS[agreed]} not finite at iteration {iteration}{row} "
                f"({here}{told}gradient norm {norm_value:.6g}); the step was not taken"
            )
        return True

    def state_dict(self) -> dict[str, int]:
        """How many steps were left out, in all and in a row."""
        return {"skipped": self.skipped, "in_row": self.in_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting."""
        self.skipped, self.in_row = state["skipped"], state["in_row"]

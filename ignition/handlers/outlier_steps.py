"""Keeps single bad batches out of the weights: leaves out steps whose loss or gradient is far above what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ignite.engine import Engine
from torch.optim import Optimizer

from ignition.events import StepEvents, watch
from ignition.handlers.consensus import Consensus
from ignition.handlers.gradients import Gradients, read_together
from ignition.stability import GradientExplosion, LossSpike

Outlier = Literal["loss_spike", "gradient_explosion"]


class OutlierSteps:
    """Leaves out optimizer steps whose loss is a spike, or whose gradient norm is an explosion, by what was before.

    The rules are those of `LossSpike` and `GradientExplosion`. All processes leave out the same steps, whichever of
    them saw the outlier (`Consensus`). What keeps coming is no outlier: after ``max_skips`` steps in a row one is
    taken, for a rule that goes on by its own statistics would leave out everything once the data has changed.

    Attach it after what measures and changes gradients. It reads loss and gradient norm before the step, which
    `NonFiniteSteps` does as well; those that are not finite are left to that.

    To leave out spikes is not always right: with clipping by norm a single bad batch does no harm, and batches that are
    hard on purpose are learned from by no other way. So nothing uses it unless it is asked to.

    Args:
        of: ``loss_spike``, ``gradient_explosion``, or both.
        max_skips: how many steps may be left out in a row.

    Attributes:
        skipped: how many were.
        latest: the iteration of the latest.

    >>> steps = OutlierSteps(["gradient_explosion"], max_skips=2)
    >>> [steps.update(i, loss=1.0, norm=2.0) for i in range(50)] == [""] * 50
    True
    >>> [steps.update(i, loss=1.0, norm=200.0) for i in (50, 51, 52)]
    ['gradient_explosion', 'gradient_explosion', '']
    """

    def __init__(self, of: Sequence[Outlier] = get_args(Outlier), *, max_skips: int = 3):
        unknown = [name for name in of if name not in get_args(Outlier)]
        if unknown or not of:
            raise ValueError(f"of is {list(of)}; it can name {' and '.join(get_args(Outlier))}")
        if max_skips < 1:
            raise ValueError(f"max_skips is {max_skips}; it must be at least 1")
        self.max_skips = max_skips
        self._spike = LossSpike() if "loss_spike" in of else None
        self._explosion = GradientExplosion() if "gradient_explosion" in of else None
        self.skipped, self.latest = 0, -1
        self._in_row = 0

    def attach(self, engine: Engine, optimizer: Optimizer, event: Any = StepEvents.GRADIENTS_READY) -> None:
        """Judge every step of ``optimizer`` in ``engine``, whoever made it."""
        watch(engine, optimizer)
        engine.add_event_handler(event, self, optimizer)
        Consensus.of(engine).attach(engine, optimizer)

    def __call__(self, engine: Engine, optimizer: Optimizer) -> None:
        state: Any = engine.state
        if getattr(state, "gradient_norm_step", None) != state.steps:  # nobody has measured this step's gradients yet
            gradients = Gradients(p for group in optimizer.param_groups for p in group["params"])
            state.gradient_norm, state.gradient_norm_step = gradients.norm, state.steps
        norm, loss = read_together(state.gradient_norm, getattr(state, "loss", None))
        reason = self.update(state.iteration, loss=loss, norm=norm)
        if reason:
            Consensus.of(engine).ask("skip", f"{reason}: loss {loss:.6g}, gradient norm {norm:.6g}")

    def update(self, iteration: int, *, loss: float, norm: float) -> str:
        """Why to leave out this step, by the name of the finding; empty for a step to take. The core, for any loop."""
        reason = ""
        for name, detector, value in (
            ("loss_spike", self._spike, loss),
            ("gradient_explosion", self._explosion, norm),
        ):
            if detector is not None and (detector.update(iteration, value) is not None or detector.active):
                reason = reason or name
        if not reason or self._in_row >= self.max_skips:
            self._in_row = 0
            return ""
        self._in_row += 1
        self.skipped += 1
        self.latest = iteration
        return reason

    def state_dict(self) -> dict[str, Any]:
        """What is usual, and how many steps were left out."""
        detectors = {"spike": self._spike, "explosion": self._explosion}
        states = {name: detector.state_dict() for name, detector in detectors.items() if detector is not None}
        return {**states, "skipped": self.skipped, "latest": self.latest, "in_row": self._in_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. A rule that is new begins anew."""
        for name, detector in (("spike", self._spike), ("explosion", self._explosion)):
            if detector is not None and name in state:
                detector.load_state_dict(state[name])
        self.skipped, self.latest, self._in_row = state["skipped"], state["latest"], state["in_row"]

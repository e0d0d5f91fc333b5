"""Sets the learning rate of every parameter group by a schedule over optimizer steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch.optim import Optimizer

from ignition.events import StepEvents, watch
from ignition.handlers.schedules import Schedule

logger = logging.getLogger(__name__)


class LearningRate:
    """Gives every parameter group its own rate times ``schedule(steps)`` times `scale`.

    Only steps that the optimizer has taken count: not those left out, nor batches that were accumulated. The rate of
    the first step is set at once. `scale` is lowered by `Plateau`; ``min_lr`` bounds what it does.

    A resumed run keeps the steps, the scale and (``keep_rates``) the base rates that were saved, and takes the schedule
    that it is given now: one made for twice the length goes on at the same step, at the rate that it would always have
    had there.

    Args:
        optimizer: its groups' ``lr`` as they are now are the base rates. Later groups come by `add_group`.
        schedule: a factor for each step, for instance `OneCycle`; or a sequence with one schedule for each group.
        min_lr: `scale` brings no group's rate below this: one number, or one for each group. Where the schedule
            itself is lower (warm-up), the schedule holds.
        keep_rates: a state that is loaded brings its base rates; False: those of the optimizer as it is given hold,
            for a run whose rates may be changed when it goes on.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> rate = LearningRate(optimizer, lambda step: 1 / (1 + step))
    >>> rate.step()
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule | Sequence[Schedule],
        *,
        min_lr: float | Sequence[float] = 0.0,
        keep_rates: bool = True,
    ):
        self.optimizer, self.keep_rates = optimizer, keep_rates
        self.base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.schedules = [schedule] * len(self.base_rates) if callable(schedule) else list(schedule)
        if len(self.schedules) != len(self.base_rates):
            raise ValueError(
                f"schedule has {len(self.schedules)} schedules; the optimizer has {len(self.base_rates)} parameter "
                "groups. Give one schedule for all, or one for each."
            )
        self.default_rate = float(optimizer.defaults.get("lr", self.base_rates[0]))
        self.steps = 0
        self.scale = 1.0
        self.bound(min_lr)

    @property
    def rates(self) -> list[float]:
        """Each group's rate for the coming step."""
        full = [base * schedule(self.steps) for base, schedule in zip(self.base_rates, self.schedules, strict=True)]
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

    def add_group(
        self, group: dict[str, Any], schedule: Schedule | None = None, *, min_lr: float | None = None
    ) -> None:
        """Add a parameter group to the optimizer, for instance layers that are trained from now on.

        Its rate is right from its first step, which ``optimizer.add_param_group`` could not see to. Before a resumed
        run is loaded, the groups that it had must be added again.

        Args:
            group: as for ``optimizer.add_param_group``; without ``lr`` its base rate is the optimizer's default.
            schedule: of the same steps as the others, so that one which begins now is
                ``InSequence((Constant(), learning_rate.steps), (schedule, math.inf))``. None: the first group's.
            min_lr: None: the first group's.
        """
        like = self.optimizer.param_groups[0]["lr"]
        default = torch.full_like(like, self.default_rate) if isinstance(like, torch.Tensor) else self.default_rate
        self.optimizer.add_param_group({"lr": default, **group})
        self.base_rates.append(float(self.optimizer.param_groups[-1]["lr"]))
        self.schedules.append(self.schedules[0] if schedule is None else schedule)
        self.bound([*self.min_lr, self.min_lr[0] if min_lr is None else min_lr])

    def attach(self, engine: Engine, event: Any = StepEvents.STEP_COMPLETED) -> None:
        """Go on by one step whenever the optimizer has stepped."""
        watch(engine, self.optimizer)
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine) -> None:
        self.step()

    def step(self) -> None:
        """The optimizer has stepped: set the rate of its next step. The core, for any loop.

        Raises:
            ValueError: the optimizer has got a parameter group by another way than `add_group`.
        """
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
        groups, rates = self.optimizer.param_groups, self.rates
        if len(groups) != len(rates):
            raise ValueError(
                f"the optimizer has {len(groups)} parameter groups, its LearningRate was made for {len(rates)}: "
                "add a group by LearningRate.add_group, which gives it a schedule"
            )
        tensors: list[torch.Tensor] = []
        for group, rate in zip(groups, rates):
            if isinstance(group["lr"], torch.Tensor):  # capturable and compiled optimizers read the same tensor again
                if any(group["lr"] is other for other in tensors):  # torch gives all groups one default
                    group["lr"] = group["lr"].clone()
                tensors.append(group["lr"].fill_(rate))
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, the rates that it was started with, and those of the coming step."""
        state = {name: getattr(self, name) for name in ("steps", "scale", "default_rate", "rates")}
        return {**state, "base_rates": list(self.base_rates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place, with the saved base rates if they are kept. What is other than it was is told.

        Raises:
            ValueError: the optimizer has another number of parameter groups.
        """
        if len(state["base_rates"]) != len(self.base_rates):
            raise ValueError(
                f"the saved state has {len(state['base_rates'])} parameter groups, "
                f"the optimizer has {len(self.base_rates)}. Resume with the groups it was saved with."
            )
        self.steps, self.scale = state["steps"], state["scale"]
        if self.keep_rates:
            self.base_rates = list(state["base_rates"])
        self._set()
        if "rates" not in state:  # saved by version 0.1.0
            return
        if self.keep_rates and state["default_rate"] != self.default_rate:
            text = "the optimizer's lr is %g and was %g when this was saved; going on with the rates of then"
            logger.warning(text, self.default_rate, state["default_rate"])
        if not all(map(math.isclose, state["rates"], self.rates)):
            text = "the schedule is another than when this was saved: the rate of step %d is %s and was %s"
            logger.info(text, self.steps + 1, self.rates, state["rates"])

"""Finds a learning rate by trying many in a short search, and leaves everything as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from ignition import distributed
from ignition.learning_rate_curve import FEWEST, LearningRateCurve
from ignition.restoring import (
    data_restored,
    engine_restored,
    generators_restored,
    model_restored,
    optimizer_restored,
    state_restored,
)

IN_A_ROW = 3  # losses that are not finite end the search: weights that are NaN stay so
PATIENCE_BATCHES = 100  # that come without a step


class LearningRateFinder:
    """Tries rising learning rates, one optimizer step each, and tells from the losses which are good (Smith, 2017).

    Afterwards everything is as before, bit for bit, whatever ends the search: weights, buffers, gradients, modes, the
    optimizer, the trainer and its handlers, its loss scale, random numbers. What else a step changes can be named in
    ``also``. Weights and the optimizer's state are in memory twice meanwhile.

    The loss of every step is read; over many processes all see its mean, and end after the same step. Of several
    parameter groups the highest rate is what is tried, and the others keep their ratio to it.

    Args:
        model, optimizer: what is trained.
        start_lr, end_lr: the first rate and the last; those between are evenly spaced on a logarithmic scale.
        steps: how many rates there are.
        smoothing: losses are averaged over about this share of the search, to each side.
        diverge_factor: the search ends where the smoothed loss has risen to this many times its lowest.
        also: further objects with a state that a step changes: a ``GradScaler``, a scheduler, an average of weights.

    >>> model = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with LearningRateFinder(model, optimizer) as finder:
    ...     for rate in finder.rates():
    ...         loss = (model(torch.ones(8, 1)) - 3).square().mean()
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         optimizer.step()
    ...         finder.record(loss)
    >>> 0.001 < finder.curve.valley < 0.5, optimizer.param_groups[0]["lr"]  # above 0.5, this one diverges
    (True, 0.1)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        steps: int = 100,
        smoothing: float = 0.05,
        diverge_factor: float = 4.0,
        also: Sequence[Any] = (),
    ):
        if not 0 < start_lr < end_lr < math.inf:
            raise ValueError(f"start_lr is {start_lr} and end_lr {end_lr}; both must be above 0, and end_lr the higher")
        if steps < FEWEST:
            raise ValueError(f"steps is {steps}; a curve needs at least {FEWEST}")
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"smoothing is {smoothing}; it is a share of the search, from 0 (none) to below 0.5")
        if not 1 < diverge_factor < math.inf:
            raise ValueError(f"diverge_factor is {diverge_factor}; it must be a number above 1")
        self.model, self.optimizer, self.also = model, optimizer, tuple(also)
        self.steps, self.smoothing, self.diverge_factor = steps, smoothing, diverge_factor
        self._all_rates = [start_lr * (end_lr / start_lr) ** (step / (steps - 1)) for step in range(steps)]
        self._open: ExitStack | None = None
        self._begin()

    def _begin(self) -> None:
        self.losses: list[float] = []
        self._ended = ""
        self._diverged: float | None = None
        self._shares: list[float] = []
        self._average, self._weight = 0.0, 0.0  # of the losses so far, the later ones more, and the weight of all
        self._best = math.inf

    @property
    def curve(self) -> LearningRateCurve:
        """What the search has found, or has so far."""
        return LearningRateCurve.of(
            self._all_rates[: len(self.losses)],
            list(self.losses),
            width=self.smoothing * self.steps,
            ended=self._ended or "it was left before its end",
            diverged=self._diverged,
        )

    # --------------------------------------------------------------------------------------------- an ignite engine

    def find(
        self,
        trainer: Engine,
        data: Iterable[Any],
        *,
        keep: Sequence[Any] = (),
        loss: Callable[[Any], Any] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> LearningRateCurve:
        """Search with the step of ``trainer``, whoever made it, over ``data`` as often as needed.

        None of its handlers acts meanwhile but those in ``keep``; loss weights that change over a run are as when it
        begins.

        Args:
            keep: handlers attached to ``trainer`` that are part of its step, as `GradientClipping` is: another rate is
                right without it. What they count in the search is forgotten.
            loss: takes the engine's output and gives the loss; needed where that is no number and has no ``loss``.
            until: asked after every step, on all processes; the search ends when it says so: ``signals.agree``.

        Raises:
            ValueError: data that can be read only once, an output that is no loss, an optimizer that never steps, a
                handler to keep that is not attached, a group of accumulated batches that is open.
        """
        if isinstance(data, Iterator):
            raise ValueError("data is an iterator, and its batches would be lost to training: give a list or a loader")
        if getattr(trainer.state, "group_open", False):
            raise ValueError("a group of accumulated batches is open: search before the run, or at an epoch's end")
        read = loss or _loss_of
        losses: list[Any] = []  # of the group of batches that is open
        stepped: list[bool] = []

        def after_batch(engine: Engine) -> None:
            losses.append(read(engine.state.output))
            # Our engines say whether a group of accumulated batches is open; elsewhere the optimizer does, by stepping.
            if getattr(engine.state, "group_open", not stepped):
                self._wait(len(losses))
            else:
                self.record(sum(losses) / len(losses))
                losses.clear()
                stepped.clear()
                if until is not None and until() and not self._ended:
                    self._ended = "it was asked to end"
            if self._ended:
                engine.terminate(skip_completed=True)

        with self, engine_restored(trainer, keep), data_restored(data):
            counting = self.optimizer.register_step_post_hook(lambda *step: stepped.append(True))
            trainer.add_event_handler(Events.ITERATION_COMPLETED, after_batch)
            try:
                trainer.run(data, max_epochs=10**9)
            finally:
                counting.remove()
        return self.curve

    def _wait(self, batches: int) -> None:
        """So many batches came without a step."""
        if batches < PATIENCE_BATCHES:
            return
        if not self.losses:
            raise ValueError(f"the optimizer has not stepped in {batches} batches: is it the one that trainer uses?")
        self._ended = f"the optimizer did not step any more for {batches} batches"

    # --------------------------------------------------------------------------------------------- a loop of your own

    def __enter__(self) -> LearningRateFinder:
        """Begin a search. All is put back when the block ends, however it ends."""
        if self._open is not None:
            raise RuntimeError("this search is under way; another one at the same time needs a finder of its own")
        self._begin()
        self._shares = _shares(self.optimizer)
        with ExitStack() as stack:
            stack.enter_context(generators_restored())
            stack.enter_context(model_restored(self.model))
            stack.enter_context(optimizer_restored(self.optimizer))
            for thing in self.also:
                stack.enter_context(state_restored(thing))
            # Set right before the step as well: a scheduler within a foreign step would have changed it.
            stack.callback(self.optimizer.register_step_pre_hook(lambda *step: self.apply(self._rate)).remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        opened, self._open, self._shares = self._open, None, []
        if opened is not None:
            opened.close()

    @property
    def _rate(self) -> float:
        """The rate of the coming step."""
        return self._all_rates[min(len(self.losses), self.steps - 1)]

    def rates(self) -> Iterator[float]:
        """Each rate in turn, set already: make one step with it and `record` its loss. Ends where the search does."""
        while not self._ended:
            tried = len(self.losses)
            self.apply(self._rate)
            yield self._rate
            if len(self.losses) == tried:
                raise RuntimeError("no loss came for this rate: call record(loss) once for each")

    def record(self, loss: torch.Tensor | float) -> None:
        """Take in the loss of the step with the present rate; all processes together."""
        if self._open is None:
            raise RuntimeError("a search takes place within 'with finder:', so that all can be put back")
        if self._ended:
            return
        value = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)  # it decides, so it is waited for
        self.losses.append(distributed.total(value) / distributed.world_size())
        self._judge(self.losses[-1])

    def _judge(self, loss: float) -> None:
        """Whether the search ends with this loss, and why."""
        if math.isfinite(loss):
            memory = self.smoothing * self.steps
            decay = memory / (1 + memory)
            self._average = decay * self._average + (1 - decay) * loss
            self._weight = decay * self._weight + (1 - decay)
            smoothed = self._average / self._weight
            self._best = min(self._best, smoothed)
            if smoothed > self._best + (self.diverge_factor - 1) * abs(self._best):  # losses may be below 0
                self._diverged = self._all_rates[len(self.losses) - 1]
                self._ended = f"the loss rose to more than {self.diverge_factor:g} times its lowest"
        elif len(self.losses) >= IN_A_ROW and not any(map(math.isfinite, self.losses[-IN_A_ROW:])):
            self._diverged = self._all_rates[len(self.losses) - IN_A_ROW]
            self._ended = f"the loss was not finite for {IN_A_ROW} steps in a row"
        if not self._ended and len(self.losses) == self.steps:
            self._ended = "all rates were tried"

    def apply(self, rate: float) -> None:
        """Set ``rate``: that of the parameter group with the highest one; the others keep their ratio to it."""
        for group, share in zip(self.optimizer.param_groups, self._shares or _shares(self.optimizer), strict=True):
            if isinstance(group["lr"], torch.Tensor):  # capturable optimizers read the same tensor again
                group["lr"].fill_(rate * share)
            else:
                group["lr"] = rate * share


def _loss_of(output: Any) -> Any:
    """The loss in what an engine's step has returned."""
    loss = getattr(output, "loss", output)
    if isinstance(loss, (int, float)) or (isinstance(loss, torch.Tensor) and loss.numel() == 1):
        return loss
    kind = type(output).__name__
    raise ValueError(f"the trainer's output is a {kind} and no loss; say where the loss is: find(..., loss=function)")


def _shares(optimizer: Optimizer) -> list[float]:
    """Each group's rate as a share of the highest."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not 0 < max(rates) < math.inf:
        raise ValueError(f"the optimizer's learning rates are {rates}; one must be above 0: groups keep their ratio")
    return [rate / max(rates) for rate in rates]

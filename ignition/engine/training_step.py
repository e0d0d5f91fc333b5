"""The training step, written once, as a plain ignite engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from ignition import distributed
from ignition.data import count_samples
from ignition.distributed.sharding import own_shares
from ignition.engine.micro_batches import MicroBatches
from ignition.engine.progress import progress_of
from ignition.engine.shared_gradients import SharedGradients
from ignition.events import StepEvents, register_step_events
from ignition.loss_terms import Losses, LossWeights, Progress, check_terms
from ignition.precision import Precision
from ignition.randomness import seed_iteration

log = logging.getLogger(__name__)

BeforeBackward = Callable[[Engine, Mapping[str, torch.Tensor], Mapping[str, float]], object]


class StepOutput(NamedTuple):
    """What a training iteration leaves as ``engine.state.output``; tensors stay on the device.

    Attributes:
        loss: the weighted sum, 0-dim, detached.
        terms: each term before weighting, 0-dim, detached.
        samples: how many samples the batch held.
    """

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    samples: int


def build_trainer(
    model: nn.Module,
    optimizer: Optimizer,
    losses: Losses,
    *,
    weights: LossWeights | None = None,
    augmentation: Callable[[Any], Any] | None = None,
    precision: Precision | None = None,
    accumulate: int = 1,
    batch_size: int | None = None,
    is_lent: Callable[[int], bool] | None = None,
    before_backward: BeforeBackward | None = None,
    micro_batches: MicroBatches | None = None,
) -> Engine:
    """An ignite engine that trains ``model``; it fires `StepEvents` around every optimizer step.

    Args:
        model: the network, on its device; may be compiled or wrapped for many processes.
        optimizer: steps once every ``accumulate`` batches and at the end of each epoch.
        losses: ``losses(model, batch, progress)`` gives the named, unweighted terms, 0-dim tensors.
        weights: what each term counts; 1 each if None.
        augmentation: takes and returns a batch on the device, before the forward pass and without gradients.
        precision: device, layout and mixed precision; float32 on the CPU if None.
        accumulate: batches whose gradients are averaged into one step, each sample counting alike. The last group of
            an epoch may be smaller; it is flushed and weighed by the samples that it has.
        batch_size: samples that a full batch has on one process; needed only where processes can differ in it.
        is_lent: whether the batch at a place of the epoch (from 0) is another process's, and counts nothing.
        before_backward: called as ``before_backward(engine, terms, weights)`` for the first batch of every step, while
            the graphs of the terms (before weighting) are there; it must leave them and ``grad`` as they are. A
            `TermGradients` is one.
        micro_batches: how many samples go through the model at once, and what happens where memory is too small; None:
            all of a batch, and half as many where that does not fit.

    >>> model = nn.Linear(2, 1)
    >>> trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1),
    ...                         lambda model, batch, progress: {"square": model(batch).square().mean()})
    >>> trainer.run([torch.ones(4, 2)] * 3, max_epochs=2).steps
    6
    """
    if accumulate < 1:
        raise ValueError(f"accumulate is {accumulate}; it counts batches, so it must be at least 1")
    step = TrainStep(
        model,
        optimizer,
        losses,
        weights=weights,
        augmentation=augmentation,
        precision=precision,
        before_backward=before_backward,
        micro_batches=micro_batches,
    )
    step.accumulate, step.batch_size, step.is_lent = accumulate, batch_size, is_lent
    trainer = Engine(step)
    register_step_events(trainer)
    trainer.state.group_open = False  # type: ignore[attr-defined]
    trainer.add_event_handler(Events.STARTED, _end_epochs_together)
    trainer.add_event_handler(Events.EPOCH_STARTED, step.start_epoch)
    return trainer


class TrainStep:
    """One training iteration: place, augment, forward, weigh, backward, and at the end of a group the optimizer's step.

    Where memory is too small for a batch, the group that it belongs to is begun again, fewer samples at a time
    (`MicroBatches`): on all processes together, with the random numbers of each iteration, so that a run that begins
    so comes to the same numbers.

    Use `build_trainer`, which says what the arguments are.
    """

    accumulate: int = 1
    batch_size: int | None = None
    is_lent: Callable[[int], bool] | None = None

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        losses: Losses,
        *,
        weights: LossWeights | None = None,
        augmentation: Callable[[Any], Any] | None = None,
        precision: Precision | None = None,
        before_backward: BeforeBackward | None = None,
        micro_batches: MicroBatches | None = None,
    ):
        self.model, self.optimizer, self.losses = model, optimizer, losses
        self.before_backward = before_backward
        self.weights = weights or LossWeights()
        self.augmentation = augmentation
        self.precision = precision or Precision()
        self.micro_batches = micro_batches or MicroBatches()
        self._gradients = SharedGradients(model)
        self._full = 0  # samples in a full batch of this process
        self._group: list[_Batch] = []  # of the open group, as they came
        self._looked = False  # whether `before_backward` was called in it
        self._checked = False

    def start_epoch(self, engine: Engine) -> None:
        """Train mode, and no gradients left over from what came before."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        engine.state.group_open = False  # type: ignore[attr-defined]

    def __call__(self, engine: Engine, batch: Any) -> StepOutput:
        state: Any = engine.state
        position = _place_in_epoch(state, state.iteration)
        last_of_epoch = position + 1 == state.epoch_length
        opens = position % self.accumulate == 0
        closes = (position + 1) % self.accumulate == 0 or last_of_epoch

        if opens:
            self._group, self._looked = [], False
        self._group.append(_Batch(batch, state.iteration, getattr(state, "iteration_seed", None)))
        output, failure = self._attempt(engine, self._group[-1:], closes)
        while self._failed(failure, closes):
            self._begin_again(engine)
            output, failure = self._attempt(engine, self._group, closes)
        if self.micro_batches.untold:
            self._tell(engine)
        assert output is not None
        state.group_open = not closes
        state.loss = output.loss
        if closes:
            self._step(engine, last_of_epoch)
            self._group = []
        return output

    # ------------------------------------------------------------------------------------------------ one batch

    def _attempt(self, engine: Engine, batches: Sequence[_Batch], closes: bool) -> tuple[StepOutput | None, str]:
        """Gradients of the group's newest batch, or of all again; or what is said where memory is too small for it."""
        self._gradients.start()
        try:
            for batch in batches:
                if batches is self._group and batch.seed is not None:
                    seed_iteration(batch.seed)
                output = self._passes(engine, batch, shared=closes and batch is self._group[-1])
            return output, ""
        except Exception as error:
            self.micro_batches.refuse_too_few(error)
            if not self.micro_batches.catches(error) or not self._can_begin_again:
                raise
            return None, str(error) or type(error).__name__  # the error itself would hold on to what is to be freed

    def _passes(self, engine: Engine, item: _Batch, *, shared: bool) -> StepOutput:
        """Forward and backward over a batch, piece by piece; with ``shared`` gradients travel in the last of them."""
        batch = self.precision.place(item.batch)
        if self.augmentation is not None:
            with torch.no_grad():
                batch = self.augmentation(batch)
        lent = self.is_lent is not None and self.is_lent(_place_in_epoch(engine.state, item.iteration))
        item.samples = 0 if lent else count_samples(batch)
        if item is self._group[0]:
            self._full = self.batch_size or item.samples
        pieces = self.micro_batches.pieces(batch)
        outputs = []
        for number, piece in enumerate(pieces):
            travel = shared and number + 1 == len(pieces)
            with nullcontext() if travel else self._gradients.stay():
                outputs.append(self._pass(engine, item, piece, travel=travel))
        output = outputs[0] if len(outputs) == 1 else _mean(outputs)
        return output._replace(samples=item.samples)

    def _pass(self, engine: Engine, item: _Batch, batch: Any, *, travel: bool) -> StepOutput:
        model, samples = self._gradients.model if travel else self._gradients.alone, count_samples(batch)
        loss, terms, weights = self._forward(engine.state, item.iteration, model, batch)
        if not self._looked and self.before_backward is not None:
            self.before_backward(engine, terms, self.weights.of(terms, weights))
        self._looked = True
        # Each batch counts by its samples, against a full group; `_step` corrects for a group that was not full.
        share = samples / (self._full * self.accumulate) if item.samples else 0.0
        if travel:
            self._gradients.before_backward(fresh=len(self._group) == 1 and samples == item.samples)
        self.precision.backward(loss if share == 1.0 else loss * share)
        return StepOutput(loss.detach(), {name: value.detach() for name, value in terms.items()}, samples)

    def _forward(
        self, state: Any, iteration: int, model: nn.Module, batch: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], Mapping[str, float]]:
        progress = progress_of(state, self.weights, iteration)
        with self.precision.autocast():
            terms = self.losses(model, batch, progress)
            if not self._checked:
                check_terms(terms)
                self._checked = True
            return self.weights.total(terms, progress.weights), terms, progress.weights

    def first_progress(self) -> Progress:
        """What losses are told at the first iteration."""
        return Progress(1, 0.0, 0.0, self.weights.at(0.0))

    # --------------------------------------------------------------------------------- where memory is too small

    def _failed(self, failure: str, closes: bool) -> bool:
        """Whether the group is to be begun again, with fewer samples at a time; over processes, one answer for all.

        Before its last batch a process answers for itself: until then gradients stay where they are.

        Raises:
            OutOfMemory: there are no fewer.
        """
        together = closes and distributed.world_size() > 1 and self._can_begin_again
        if not failure and not together:
            return False
        if failure and together:
            self._gradients.finish()
        if failure:
            self.optimizer.zero_grad(set_to_none=True)  # memory that the next attempt may need
        samples = max(batch.samples or count_samples(batch.batch) for batch in self._group)
        return self.micro_batches.settle(samples, failure, together=together)

    @property
    def _can_begin_again(self) -> bool:
        splits = self.micro_batches.policy == "split"
        return splits and (distributed.world_size() == 1 or self._gradients.can_finish)

    def _begin_again(self, engine: Engine) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        engine.fire_event(StepEvents.STEP_RESTARTED)

    def _tell(self, engine: Engine) -> None:
        norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules())
        note = ", with the same gradients" + (" but for batch normalisation, which sees only so many" if norms else "")
        self.micro_batches.tell(f"iteration {engine.state.iteration}", note)

    # ------------------------------------------------------------------------------------------------- the step

    def _step(self, engine: Engine, last_of_epoch: bool) -> None:
        """Unscale, ask the handlers, step or leave it out, clear the gradients."""
        state: Any = engine.state
        self.precision.unscale(self.optimizer)
        self._weigh_short_group(last_of_epoch)
        state.steps += 1
        state.skip_step = False
        state.loss_scale = self.precision.loss_scale
        engine.fire_event(StepEvents.GRADIENTS_READY)
        if not state.skip_step:
            self.precision.step(self.optimizer)
        self.precision.update()
        if self.precision.loss_scale < state.loss_scale:  # the scaler found an overflow and took no step
            state.skip_step = True
        self.optimizer.zero_grad(set_to_none=True)
        engine.fire_event(StepEvents.STEP_SKIPPED if state.skip_step else StepEvents.STEP_COMPLETED)

    def _weigh_short_group(self, last_of_epoch: bool) -> None:
        """Make the gradients the mean over the samples that the group really had, over all processes."""
        full = float(self._full * self.accumulate)
        seen = float(sum(batch.samples for batch in self._group))
        if last_of_epoch:  # the only group that may be short, so the only one for which processes compare notes
            full, seen = full * distributed.world_size(), distributed.total(seen)
        if seen and seen != full:
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(own_shares(gradients), full / seen)


def _place_in_epoch(state: Any, iteration: int) -> int:
    """Which batch of its epoch an iteration is, from 0."""
    return (iteration - 1) % state.epoch_length if state.epoch_length else iteration - 1


def _end_epochs_together(trainer: Engine) -> None:
    """Where processes have unequal numbers of batches, none begins one that another has not: it would wait for ever."""
    if distributed.world_size() == 1:
        return
    lengths = distributed.gather(trainer.state.epoch_length)
    if None in lengths or len(set(lengths)) == 1:
        return
    counts = ", ".join(f"process {rank} has {length}" for rank, length in enumerate(lengths))
    log.warning("processes have unequal numbers of batches: %s. All end an epoch after %d", counts, min(lengths))
    trainer.state.epoch_length = min(lengths)


@dataclass
class _Batch:
    """A batch of the open group as it came, and what it takes to do it again."""

    batch: Any
    iteration: int
    seed: int | None  # of the iteration's random numbers, where somebody seeds them
    samples: int = 0


def _mean(outputs: list[StepOutput]) -> StepOutput:
    """Of the pieces of a batch, each sample counting alike."""
    samples = sum(output.samples for output in outputs)
    shares = [output.samples / samples for output in outputs]

    def mean(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([value * share for value, share in zip(values, shares, strict=True)]).sum()

    terms = {name: mean([output.terms[name] for output in outputs]) for name in outputs[0].terms}
    return StepOutput(mean([output.loss for output in outputs]), terms, samples)

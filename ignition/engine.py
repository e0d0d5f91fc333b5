"""The training step and the evaluation, each written once, as plain ignite engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import nn
from torch.optim import Optimizer

from ignition import distributed
from ignition.data import count_samples
from ignition.events import StepEvents, register_step_events
from ignition.loss_terms import Losses, LossesOf, LossWeights, Progress, check_terms
from ignition.mean_losses import MeanLosses
from ignition.micro_batches import MicroBatches
from ignition.precision import Precision
from ignition.randomness import seed_iteration
from ignition.sharding import own_shares
from ignition.shared_gradients import SharedGradients

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


def progress_of(state: Any, weights: LossWeights, iteration: int | None = None) -> Progress:
    """The `Progress` at an engine's ``state``, or at another iteration of the same epoch."""
    iteration = state.iteration if iteration is None else iteration
    epoch = (iteration - 1) / state.epoch_length if state.epoch_length else float(state.epoch - 1)
    epoch = max(epoch, 0.0)
    return Progress(iteration, epoch, epoch / state.max_epochs if state.max_epochs else 0.0, weights.at(epoch))


def build_evaluator(
    model: nn.Module,
    predict: Callable[[nn.Module, Any], Any],
    *,
    metrics: Mapping[str, Metric] | None = None,
    losses: LossesOf | None = None,
    weights: LossWeights | None = None,
    precision: Precision | None = None,
    clock: Engine | None = None,
    micro_batches: MicroBatches | None = None,
) -> Engine:
    """An ignite engine that evaluates ``model`` without gradients and leaves the training mode as it found it.

    ``engine.state.output`` is ``(outputs, batch)``, which is what ``metrics`` are fed; ``engine.state.metrics`` holds
    their values and, where ``losses`` are given, ``loss`` and ``loss/<term>``: means over the samples of all processes.

    Args:
        predict: ``predict(model, batch)`` gives the outputs.
        losses: ``losses(model, outputs, batch, progress)`` gives named terms; what `of_model` makes of a training's
            losses runs the model again, so one that needs the outputs only is faster.
        weights: as for training, taken at the point that ``clock`` has reached.
        clock: the trainer, for loss weights that are schedules.
        micro_batches: where memory is too small for a batch, it goes through the model in pieces, and what comes out
            is put together.
    """
    step = EvaluationStep(
        model,
        predict,
        losses=losses,
        weights=weights or LossWeights(),
        precision=precision or Precision(),
        clock=clock,
        micro_batches=micro_batches or MicroBatches(setting="data.eval_batch_size"),
    )
    means = step.means
    evaluator = Engine(step)
    for name, metric in (metrics or {}).items():
        metric.attach(evaluator, name)
    evaluator.add_event_handler(Events.STARTED, lambda engine: means.reset())
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(means.compute()))
    _Mode(model).attach(evaluator)
    return evaluator


class EvaluationStep:
    """One iteration of an evaluation: place, predict, sum up the losses. Use `build_evaluator`."""

    def __init__(
        self,
        model: nn.Module,
        predict: Callable[[nn.Module, Any], Any],
        *,
        losses: LossesOf | None,
        weights: LossWeights,
        precision: Precision,
        clock: Engine | None,
        micro_batches: MicroBatches,
    ):
        self.model, self.predict, self.losses, self.weights = model, predict, losses, weights
        self.precision, self.clock, self.micro_batches = precision, clock, micro_batches
        self.means = MeanLosses()

    def __call__(self, engine: Engine, batch: Any) -> tuple[Any, Any]:
        batch = self.precision.place(batch)
        outputs, failure = self._attempt(engine, batch)
        while failure:
            self.micro_batches.settle(count_samples(batch), failure)
            seed = getattr(engine.state, "iteration_seed", None)
            if seed is not None:
                seed_iteration(seed)
            outputs, failure = self._attempt(engine, batch)
        if self.micro_batches.untold:
            self.micro_batches.tell("evaluation")
        return outputs, batch

    def _attempt(self, engine: Engine, batch: Any) -> tuple[Any, str]:
        """What the model makes of a batch; or what is said where memory is too small for it."""
        try:
            return self._passes(engine, batch), ""
        except Exception as error:
            if not self.micro_batches.catches(error):
                raise
            return None, str(error) or type(error).__name__

    def _passes(self, engine: Engine, batch: Any) -> Any:
        pieces, outputs, losses = self.micro_batches.pieces(batch), [], []
        sizes = [count_samples(piece) for piece in pieces]
        for piece in pieces:
            with torch.no_grad(), self.precision.autocast():
                outputs.append(self.predict(self.model, piece))
                if self.losses is not None:
                    progress = progress_of((self.clock or engine).state, self.weights)
                    terms = self.losses(self.model, outputs[-1], piece, progress)
                    total = self.weights.total(terms, progress.weights)
                    losses.append({"loss": total, **{f"loss/{name}": value for name, value in terms.items()}})
        whole = outputs[0] if len(pieces) == 1 else self.micro_batches.whole(outputs, sizes)
        for values, samples in zip(losses, sizes):
            self.means.add(values, samples)  # now that all of them have fitted
        return whole


class _Mode:
    """Evaluation mode while an engine runs; the mode before it comes back, whatever ends the run."""

    def __init__(self, model: nn.Module):
        self.model, self.training = model, model.training

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.enter)
        for end in (Events.COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED):
            engine.add_event_handler(end, self.leave)

    def enter(self, engine: Engine) -> None:
        self.training = self.model.training
        self.model.eval()

    def leave(self, engine: Engine, error: BaseException | None = None) -> None:
        self.model.train(self.training)
        if error is not None:
            raise error  # a handler on EXCEPTION_RAISED that does not raise would swallow the error

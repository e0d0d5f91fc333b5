"""The training step and the evaluation, each written once, as plain ignite engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
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
from ignition.precision import Precision
from ignition.sharding import own_shares

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
    ):
        self.model, self.optimizer, self.losses = model, optimizer, losses
        self.before_backward = before_backward
        self.weights = weights or LossWeights()
        self.augmentation = augmentation
        self.precision = precision or Precision()
        self._full = 0  # samples in a full batch of this process
        self._seen = 0  # samples in the open group, on this process
        self._checked = False

    def start_epoch(self, engine: Engine) -> None:
        """Train mode, and no gradients left over from what came before."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        engine.state.group_open = False  # type: ignore[attr-defined]

    def __call__(self, engine: Engine, batch: Any) -> StepOutput:
        state: Any = engine.state
        position = (state.iteration - 1) % state.epoch_length if state.epoch_length else state.iteration - 1
        last_of_epoch = position + 1 == state.epoch_length
        opens = position % self.accumulate == 0
        closes = (position + 1) % self.accumulate == 0 or last_of_epoch

        batch = self.precision.place(batch)
        if self.augmentation is not None:
            with torch.no_grad():
                batch = self.augmentation(batch)
        samples = 0 if self.is_lent is not None and self.is_lent(position) else count_samples(batch)
        if opens or not self._full:
            self._seen, self._full = 0, self.batch_size or samples
        self._seen += samples

        with self._without_sync() if not closes else nullcontext():
            loss, terms, weights = self._forward(state, batch)
            if opens and self.before_backward is not None:
                self.before_backward(engine, terms, self.weights.of(terms, weights))
            # Each batch counts by its samples, against a full group; `_step` corrects for a group that was not full.
            share = samples / (self._full * self.accumulate) if samples else 0.0
            self.precision.backward(loss if share == 1.0 else loss * share)
        state.group_open = not closes
        state.loss = loss.detach()
        if closes:
            self._step(engine, last_of_epoch)
        return StepOutput(state.loss, {name: value.detach() for name, value in terms.items()}, samples)

    def _forward(self, state: Any, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], Mapping[str, float]]:
        progress = progress_of(state, self.weights)
        with self.precision.autocast():
            terms = self.losses(self.model, batch, progress)
            if not self._checked:
                check_terms(terms)
                self._checked = True
            return self.weights.total(terms, progress.weights), terms, progress.weights

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
        full, seen = self._full * self.accumulate, float(self._seen)
        if last_of_epoch:  # the only group that may be short, so the only one for which processes compare notes
            full, seen = full * distributed.world_size(), distributed.total(seen)
        if seen and seen != full:
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(own_shares(gradients), full / seen)

    def _without_sync(self) -> AbstractContextManager[Any]:
        """Where many processes train, gradients travel only at the end of a group."""
        no_sync = getattr(self.model, "no_sync", None)
        return no_sync() if no_sync is not None else nullcontext()


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


def progress_of(state: Any, weights: LossWeights) -> Progress:
    """The `Progress` at an engine's ``state``."""
    epoch = (state.iteration - 1) / state.epoch_length if state.epoch_length else float(state.epoch - 1)
    epoch = max(epoch, 0.0)
    return Progress(state.iteration, epoch, epoch / state.max_epochs if state.max_epochs else 0.0, weights.at(epoch))


def build_evaluator(
    model: nn.Module,
    predict: Callable[[nn.Module, Any], Any],
    *,
    metrics: Mapping[str, Metric] | None = None,
    losses: LossesOf | None = None,
    weights: LossWeights | None = None,
    precision: Precision | None = None,
    clock: Engine | None = None,
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
    """
    precision, weights = precision or Precision(), weights or LossWeights()
    means = _MeanLosses()

    def evaluate(engine: Engine, batch: Any) -> tuple[Any, Any]:
        batch = precision.place(batch)
        with torch.no_grad(), precision.autocast():
            outputs = predict(model, batch)
            if losses is not None:
                progress = progress_of((clock or engine).state, weights)
                terms = losses(model, outputs, batch, progress)
                means.add({"loss": weights.total(terms, progress.weights), **_prefixed(terms)}, count_samples(batch))
        return outputs, batch

    evaluator = Engine(evaluate)
    for name, metric in (metrics or {}).items():
        metric.attach(evaluator, name)
    evaluator.add_event_handler(Events.STARTED, lambda engine: means.reset())
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(means.compute()))
    _Mode(model).attach(evaluator)
    return evaluator


def _prefixed(terms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"loss/{name}": value for name, value in terms.items()}


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


class _MeanLosses:
    """Means of loss terms over the samples of all processes; sums stay on the device until asked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.samples = 0

    def add(self, values: Mapping[str, torch.Tensor], samples: int) -> None:
        for name, value in values.items():
            value = value.detach().double() * samples if value.device.type != "mps" else value.detach() * samples
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.samples += samples

    def compute(self) -> dict[str, float]:
        names = sorted(set().union(*distributed.gather(list(self.sums))))
        samples = distributed.total(float(self.samples))
        return {name: distributed.total(float(self.sums.get(name, 0.0))) / max(samples, 1.0) for name in names}

"""The evaluation, written once, as a plain ignite engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import nn

from ignition.data import count_samples
from ignition.engine.mean_losses import MeanLosses
from ignition.engine.micro_batches import MicroBatches
from ignition.engine.progress import progress_of
from ignition.loss_terms import LossesOf, LossWeights
from ignition.precision import Precision
from ignition.randomness import seed_iteration


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

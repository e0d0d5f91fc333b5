"""One optimizer step on chosen samples, tried: what came of it is told, and then nothing has happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine

from ignition.checkpoint_file.modules import plain_name
from ignition.data import Loader, SampleKey
from ignition.events import StepEvents, register_step_events
from ignition.handlers.gradients import Gradients
from ignition.incidents.layers import norms_of
from ignition.randomness import IterationSeed
from ignition.recipe import optional
from ignition.restoring import generators_restored, model_restored, optimizer_restored, state_restored
from ignition.training import Training

Batch = Sequence[int]


@dataclass(frozen=True)
class Trial:
    """What came of a step.

    Attributes:
        losses: of each batch, the weighted sum.
        terms: each term, not weighted, the mean over the batches.
        gradient_norm: before clipping.
        layers: of each parameter the norms ``weight``, ``gradient`` and, of a step that was taken, ``update``.
    """

    losses: tuple[float, ...]
    terms: dict[str, float]
    gradient_norm: float
    layers: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)

    @property
    def loss(self) -> float:
        """The mean over the batches."""
        return sum(self.losses) / len(self.losses)

    @property
    def finite(self) -> bool:
        """Whether loss, terms and gradient are."""
        return all(map(math.isfinite, (*self.losses, *self.terms.values(), self.gradient_norm)))


class Trials:
    """Tries steps in the state in which ``training`` is, with the random numbers and weights of an iteration.

    Args:
        training: stands between two groups of batches.
        set_rates: ``set_rates(iteration)`` gives the optimizer the learning rates of that iteration's step.
    """

    def __init__(self, training: Training, set_rates: Callable[[int], object]):
        self.training, self.set_rates = training, set_rates
        self.step: Any = training.trainer._process_function

    def group(self, batches: Sequence[Batch], iteration: int) -> Trial:
        """The step over ``batches``, dataset indices each, as if they came from ``iteration`` on."""
        return self._try(batches, iteration)

    def alone(self, samples: Batch, iteration: int) -> Trial:
        """The step over these samples as one batch; each counts as much as in any other."""
        with _attributes(self.step, accumulate=1, batch_size=None, _full=0):
            return self._try([samples], iteration)

    def _try(self, batches: Sequence[Batch], iteration: int) -> Trial:
        training, model, optimizer = self.training, self.training.model, self.training.optimizer
        with ExitStack() as stack:
            for context in (generators_restored(), model_restored(model), optimizer_restored(optimizer)):
                stack.enter_context(context)
            for thing in (training.clipping, training.precision.scaler):
                stack.enter_context(state_restored(thing) if thing is not None else nullcontext())
            stack.enter_context(_attributes(self.step))
            self.set_rates(iteration + len(batches) - 1)
            engine, measuring = self._engine(), _Measuring(training)
            engine.add_event_handler(StepEvents.GRADIENTS_READY, measuring.before)
            training.clipping.attach(engine, optimizer)
            engine.add_event_handler(StepEvents.GRADIENTS_READY, measuring.judge)
            engine.add_event_handler(StepEvents.STEP_COMPLETED, measuring.after)
            seed, outputs = IterationSeed(training.config.trainer.seed), []
            for number, batch in enumerate(self._read(batches, iteration)):
                engine.state.iteration = iteration + number
                seed(engine)
                outputs.append(self.step(engine, batch))
        terms = {name: sum(float(output.terms[name]) for output in outputs) / len(outputs) for name in outputs[0].terms}
        losses = tuple(float(output.loss) for output in outputs)
        return Trial(losses, terms, measuring.norm, measuring.layers)

    def _engine(self) -> Engine:
        """One that has nothing of the run's but where it stands."""
        engine, now = Engine(self.step), self.training.trainer.state
        register_step_events(engine)
        state: Any = engine.state
        for name in ("epoch", "epoch_length", "max_epochs"):
            setattr(state, name, getattr(now, name))
        state.group_open = False
        return engine

    def _read(self, batches: Sequence[Batch], iteration: int) -> Iterator[Any]:
        training = self.training
        epoch = (iteration - 1) // len(training.data.loader)
        left_out = training.data.sampler.left_out(epoch)
        keys: Any = [[SampleKey(epoch, index, left_out) for index in batch] for batch in batches]
        seed, collate = training.config.trainer.seed, optional(training.recipe, "collate")
        skipped = training.data.loader.skipped
        yield from Loader(training.splits.train, keys, seed=seed, split="train", collate=collate, skipped=skipped)


class _Measuring:
    """The norms of one step."""

    def __init__(self, training: Training):
        self.names = {plain_name(name): parameter for name, parameter in training.model.named_parameters()}
        self.optimizer = training.optimizer
        self.norm = 0.0
        self.layers: dict[str, dict[str, float]] = {}

    def before(self, engine: Engine) -> None:
        """Gradients are there, and nobody has changed them yet."""
        self.norm = float(Gradients(p for group in self.optimizer.param_groups for p in group["params"]).norm)
        self.kept = {name: parameter.detach().clone() for name, parameter in self.names.items()}
        self.layers = {name: {"weight": norm} for name, norm in norms_of(self.names).items()}
        gradients = {name: p.grad for name, p in self.names.items() if p.grad is not None}
        for name, norm in norms_of(gradients).items():
            self.layers[name]["gradient"] = norm

    def judge(self, engine: Engine) -> None:
        """A run leaves such steps out before they reach the weights."""
        state: Any = engine.state
        state.skip_step = not (math.isfinite(self.norm) and math.isfinite(float(state.loss)))

    @torch.no_grad()
    def after(self, engine: Engine) -> None:
        """The step was taken."""
        updates = {name: parameter - self.kept[name] for name, parameter in self.names.items()}
        for name, norm in norms_of(updates).items():
            self.layers[name]["update"] = norm


@contextmanager
def _attributes(thing: Any, **values: Any) -> Iterator[None]:
    """``thing`` with these attributes; what is set on it meanwhile is forgotten."""
    kept = dict(vars(thing))
    vars(thing).update(values)
    try:
        yield
    finally:
        thing.__dict__ = kept

"""Evaluations of a recipe's model: on its validation data, on other data, by its trivial predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from ignition import assembly, distributed
from ignition.config import Config
from ignition.data import Loader, SkippedSamples
from ignition.distributed.sharding import WholeWeights
from ignition.engine import MicroBatches, build_evaluator
from ignition.loss_terms import LossWeights
from ignition.precision import Precision
from ignition.recipe import Recipe, Splits, evaluation_losses, optional


class Evaluators:
    """Makes evaluators that all measure a model in the same way.

    Args:
        recipe, config: what is measured and how.
        model: the network, not wrapped.
        weights: of the loss terms.
        precision: device, layout and mixed precision.
        clock: the trainer, if there is one: loss weights may depend on how far it is.
        prepare: called with every evaluator that is made, for instance to let signals cut it short.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: Config,
        model: nn.Module,
        *,
        weights: LossWeights,
        precision: Precision,
        clock: Engine | None = None,
        prepare: Callable[[Engine], None] | None = None,
    ):
        self.recipe, self.config, self.model = recipe, config, model
        self.weights, self.precision, self.clock, self.prepare = weights, precision, clock, prepare
        policy = config.trainer.on_out_of_memory
        self.micro_batches = MicroBatches(policy=policy, setting="data.eval_batch_size")
        self._skipped: dict[str, SkippedSamples] = {}

    def build(
        self, predict: Callable[[nn.Module, Any], Any] | None = None, *, model: nn.Module | None = None
    ) -> Engine:
        """A new evaluator, of the model with its losses; or of another model.

        Or of a ``predict``, which has losses where the recipe can tell them from what it gives.
        """
        has_losses = predict is None or optional(self.recipe, "losses_from") is not None
        evaluator = build_evaluator(
            model or self.model,
            predict or self.recipe.predict,
            metrics=self.recipe.metrics(),
            losses=evaluation_losses(self.recipe) if has_losses else None,
            weights=self.weights,
            precision=self.precision,
            clock=self.clock,
            micro_batches=self.micro_batches,
        )
        measured = model or self.model
        WholeWeights(measured).attach(evaluator)
        # Each process has running statistics of its own; what is saved, and so what counts, are those of process 0.
        evaluator.add_event_handler(Events.STARTED, lambda engine: distributed.share_buffers(measured))
        if self.prepare is not None:
            self.prepare(evaluator)
        return evaluator

    def loader(self, dataset: Any, split: str) -> Loader:
        """``dataset`` in batches, each process its share; what cannot be read of a split is named once."""
        skipped = None
        if self.config.data.skip_bad:
            skipped = self._skipped.setdefault(split, SkippedSamples(split, len(dataset), replace=False))
        return assembly.evaluation_loader(self.recipe, self.config, dataset, self.precision.device, split, skipped)

    def run(self, dataset: Any, split: str, evaluator: Engine | None = None) -> Engine:
        """An evaluation on ``dataset``, done: its metrics are in ``state.metrics``. Of the model if not of another."""
        evaluator, loader = evaluator or self.build(), self.loader(dataset, split)
        try:
            run_over(evaluator, loader)
        finally:
            loader.close()
        return evaluator

    def run_baseline(self, splits: Splits) -> Engine | None:
        """The same for the recipe's trivial predictor, on the validation data; None where the recipe has none."""
        if optional(self.recipe, "baseline") is None:
            return None
        return self.run(splits.val, "val", self.build(assembly.ask(self.recipe, "baseline", splits)))


def run_over(evaluator: Engine, loader: Loader) -> None:
    """Run ``evaluator`` over all of ``loader``.

    Where samples that cannot be read are left out, ``samples_read`` and ``samples_skipped`` are among its metrics.

    Raises:
        BadSample: too many cannot be read.
    """
    skipped = loader.skipped
    if skipped is None:
        evaluator.run(loader)
        return

    def count(engine: Engine) -> None:
        skipped.share()
        skipped.judge()
        read, left_out = skipped.counts()
        engine.state.metrics |= {"samples_read": read, "samples_skipped": left_out}

    evaluator.state.max_epochs = evaluator.state.epoch_length = None  # as many batches as there turn out to be
    with evaluator.add_event_handler(Events.EPOCH_COMPLETED, count):
        evaluator.run(iter(loader))


class Evaluation:
    """Runs an evaluator; knows when an evaluation is due that a stop kept from being done, after a resume as well.

    Args:
        evaluator: of the model that is trained.
        loader: what it is evaluated on.
        beside: evaluators of other weights, by name: run before it, their metrics are among its own as
            ``<name>/<metric>``.
    """

    def __init__(self, evaluator: Engine, loader: Loader, *, beside: Mapping[str, Engine] | None = None):
        self.evaluator, self.loader, self.beside = evaluator, loader, dict(beside or {})
        self.due = False
        evaluator.add_event_handler(Events.COMPLETED, self._add_those_beside)

    def __call__(self, trainer: Engine) -> None:
        self.due = True
        for evaluator in (*self.beside.values(), self.evaluator):
            if not trainer.should_terminate:
                run_over(evaluator, self.loader)

    def _add_those_beside(self, evaluator: Engine) -> None:
        for name, other in self.beside.items():
            evaluator.state.metrics |= {f"{name}/{metric}": value for metric, value in other.state.metrics.items()}

    def done(self, evaluator: Engine) -> None:
        """The metrics are there: what acts on them comes after."""
        self.due = False

    def state_dict(self) -> dict[str, bool]:
        """Whether an evaluation is due."""
        return {"due": self.due}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        """Remember it."""
        self.due = state["due"]

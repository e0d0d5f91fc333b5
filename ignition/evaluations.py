"""Evaluations of a recipe's model: on its validation data, on other data, by its trivial predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine
from torch import nn

from ignition import assembly
from ignition.config import Config
from ignition.data import Loader
from ignition.engine import build_evaluator
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
    ):
        self.recipe, self.config, self.model = recipe, config, model
        self.weights, self.precision, self.clock = weights, precision, clock

    def build(self, predict: Callable[[nn.Module, Any], Any] | None = None) -> Engine:
        """A new evaluator: of the model with its losses, or of another ``predict``, which has none."""
        return build_evaluator(
            self.model,
            predict or self.recipe.predict,
            metrics=self.recipe.metrics(),
            losses=evaluation_losses(self.recipe) if predict is None else None,
            weights=self.weights,
            precision=self.precision,
            clock=self.clock,
        )

    def loader(self, dataset: Any, split: str) -> Loader:
        """``dataset`` in batches, each process its share."""
        return assembly.evaluation_loader(self.recipe, self.config, dataset, self.precision.device, split)

    def run(self, dataset: Any, split: str, evaluator: Engine | None = None) -> Engine:
        """An evaluation on ``dataset``, done: its metrics are in ``state.metrics``. Of the model if not of another."""
        evaluator, loader = evaluator or self.build(), self.loader(dataset, split)
        try:
            evaluator.run(loader)
        finally:
            loader.close()
        return evaluator

    def run_baseline(self, splits: Splits) -> Engine | None:
        """The same for the recipe's trivial predictor, on the validation data; None where the recipe has none."""
        if optional(self.recipe, "baseline") is None:
            return None
        return self.run(splits.val, "val", self.build(assembly.ask(self.recipe, "baseline", splits)))


class Evaluation:
    """Runs an evaluator; knows when an evaluation is due that a stop kept from being done, after a resume as well."""

    def __init__(self, evaluator: Engine, loader: Loader):
        self.evaluator, self.loader = evaluator, loader
        self.due = False

    def __call__(self, trainer: Engine) -> None:
        self.due = True
        if not trainer.should_terminate:
            self.evaluator.run(self.loader)

    def done(self, evaluator: Engine) -> None:
        """The metrics are there: what acts on them comes after."""
        self.due = False

    def state_dict(self) -> dict[str, bool]:
        """Whether an evaluation is due."""
        return {"due": self.due}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        """Remember it."""
        self.due = state["due"]

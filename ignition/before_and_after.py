"""The evaluations of a run that belong to no epoch: before its first step and after its last."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine

from ignition import assembly, checkpoint_file, distributed
from ignition.config import Config
from ignition.evaluations import Evaluators
from ignition.handlers.metrics_log import MetricsLog
from ignition.handlers.signals import Signals
from ignition.recipe import Splits


class BeforeAndAfter:
    """Evaluates the trivial predictor, further validation sets and the test data, and writes their rows.

    Args:
        config: says which weights are the chosen ones, and whether the model keeps them at the end.
        splits: the data.
        evaluators: what evaluates the model.
        trainer: its iteration is that of the rows.
        log: where rows go. Those of an evaluation that a signal has cut short are not written: half a metric is none.
        signals: whether the run was asked to end; what is left is done when it goes on.
        best: the best checkpoint.
    """

    def __init__(
        self,
        config: Config,
        splits: Splits,
        *,
        evaluators: Evaluators,
        trainer: Engine,
        log: MetricsLog,
        signals: Signals,
        best: Path,
    ):
        self.config, self.splits, self.evaluators, self.trainer = config, splits, evaluators, trainer
        self.log, self.signals, self.best = log, signals, best

    def baseline(self) -> None:
        """The trivial predictor's scores, as ``baseline/<metric>``."""
        trivial = self.evaluators.run_baseline(self.splits)
        if trivial is not None:
            self._write(trivial, "baseline")

    def others(self, when: str) -> None:
        """Further validation sets, under their own name: ``<name>/before/<metric>`` and ``<name>/after/<metric>``."""
        for name, dataset in self.splits.others.items():
            if not self.signals.signal_number:
                self._write(self.evaluators.run(dataset, name), f"{name}/{when}")

    def after(self) -> None:
        """Further validation sets; and once, with the best weights, the test data, which takes part in no choice."""
        model, early_stop = self.evaluators.model, self.config.early_stop
        keeps_best = early_stop is not None and early_stop.restore_best
        trained = {name: value.clone() for name, value in model.state_dict().items()}
        if keeps_best:
            self._take_best_weights()
        self.others("after")
        if self.splits.test is not None and not self.signals.signal_number:
            self._take_best_weights()
            self._write(self.evaluators.run(self.splits.test, "test"), "test")
        if not keeps_best:
            checkpoint_file.give_state(model, trained)

    def _take_best_weights(self) -> None:
        model = self.evaluators.model
        weights = None
        if distributed.rank() == 0 and self.best.is_file():  # the folder need not be there for the others
            weights = assembly.chosen_weights(self.config, checkpoint_file.load(self.best))
        weights = distributed.from_first(weights)
        if weights is not None:
            checkpoint_file.give_state(model, weights)

    def _write(self, evaluator: Engine, tag: str) -> None:
        if not self.signals.signal_number:
            self.log.write_evaluation(evaluator, self.trainer, tag)

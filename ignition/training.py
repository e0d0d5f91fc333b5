"""A recipe and a config, wired together: engines, and handlers in their order."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from ignite.engine import Engine, Events

from ignition import assembly, distributed
from ignition.before_and_after import BeforeAndAfter
from ignition.checkpoint_file import give_state, state_of
from ignition.config import Config
from ignition.data import SkippedSamples
from ignition.engine import MicroBatches, build_trainer
from ignition.evaluations import Evaluation, Evaluators
from ignition.handlers.buffer_keeper import BufferKeeper
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.metrics_log import MetricsLog
from ignition.handlers.non_finite_input import NonFiniteInput
from ignition.handlers.pictures import Pictures
from ignition.handlers.random_state import RandomState
from ignition.handlers.signals import Signals
from ignition.handlers.throughput import Throughput
from ignition.handlers.watched_numbers import WatchedNumbers
from ignition.optimizer import options_of
from ignition.precision import Precision
from ignition.randomness import IterationSeed, seed_all
from ignition.recipe import Recipe, optional
from ignition.reporting import Reporting
from ignition.rundir import BEST_CHECKPOINT, RunFolder
from ignition.scheduling import schedule_of
from ignition.smallest_batch import refuse_batches_of_one
from ignition.supervision import Supervision
from ignition.timetable import Timetable


class Training:
    """The parts of one run of one recipe, with every handler attached. `Lifecycle` runs them.

    Args:
        recipe: an instance of a recipe's class.
        config: resolved settings.
        run: the run folder, on process 0 the one who writes.

    Raises:
        AssemblyError: recipe, config and machine do not fit together.

    Attributes that a recipe's ``handlers(training)`` may use: ``recipe, config, run, splits, model, optimizer,
    trainer, evaluator, log, learning_rate, checkpoint, precision``.
    """

    def __init__(self, recipe: Recipe, config: Config, run: RunFolder):
        self.recipe, self.config, self.run = recipe, config, run
        trainer_settings = config.trainer
        if trainer_settings.threads:
            torch.set_num_threads(trainer_settings.threads)
        self.device = assembly.choose_device(trainer_settings.device)
        self.precision = Precision(self.device, amp=trainer_settings.amp, channels_last=trainer_settings.channels_last)

        seed_all(trainer_settings.seed)  # a recipe may shuffle files before it parts them
        self.splits = assembly.build_splits(recipe)
        self.data = assembly.training_data(recipe, config, self.splits.train, self.device)

        self.model = assembly.build_model(recipe, config, self.precision)
        if trainer_settings.compile:
            self.model.compile()
        shared_out = assembly.is_shared_out(config)
        average = copy.deepcopy(self.model) if shared_out and config.ema is not None else None
        network = assembly.over_processes(self.model, config, self.precision)
        if average is not None:
            assembly.over_processes(average, config, self.precision)
        self.optimizer = assembly.optimizer_of(config, self.model)
        self.options = options_of(self.optimizer)
        epoch_steps = -(-len(self.data.loader) // trainer_settings.accumulate)
        self.learning_rate = LearningRate(self.optimizer, schedule_of(config, epoch_steps), keep_rates=False)
        self.clipping = assembly.clipping_of(config, self.model)
        self.guard = assembly.guard_of(config)
        self.ema = assembly.average_of(config, self.model, average)

        weights = self.loss_weights = assembly.loss_weights(config)
        self.measurements = assembly.measurements_of(config, self.model, lambda row: self.supervision.measured(row))
        self.micro_batches = MicroBatches(trainer_settings.micro_batch, policy=trainer_settings.on_out_of_memory)
        augmentation = assembly.ask(recipe, "augmentation") if optional(recipe, "augmentation") else None
        self.trainer = build_trainer(
            network,
            self.optimizer,
            recipe.losses,
            weights=weights,
            augmentation=augmentation.to(self.device) if augmentation is not None else None,
            precision=self.precision,
            accumulate=trainer_settings.accumulate,
            batch_size=config.data.batch_size // distributed.world_size(),
            is_lent=self.data.sampler.is_lent,
            # It would take the graphs apart that gather the weights.
            before_backward=self.measurements.terms if self.measurements is not None and not shared_out else None,
            micro_batches=self.micro_batches,
        )
        self.signals = Signals()
        self.evaluators = Evaluators(
            recipe,
            config,
            self.model,
            weights=weights,
            precision=self.precision,
            clock=self.trainer,
            prepare=lambda evaluator: self.signals.attach_evaluation(evaluator, self.trainer),
        )
        self.evaluator = self.evaluators.build()
        self.val_loader = self.evaluators.loader(self.splits.val, "val")
        beside = {"ema": self.evaluators.build(model=self.ema.module)} if self.ema is not None else {}
        self.evaluation = Evaluation(self.evaluator, self.val_loader, beside=beside)
        self.timetable = Timetable(
            epochs=trainer_settings.epochs,
            epoch_length=len(self.data.loader),
            evaluate_every=trainer_settings.evaluate_every,
            save_every_epochs=config.checkpoint.every_epochs,
            save_every=config.checkpoint.every_iterations,
        )

        self.reporting = Reporting(config, run, self.trainer)
        self.log = MetricsLog(*self.reporting.writers, every=config.logging.every, sources=[self.clipping.measures])
        self.log.sources.append(self._out_of_memory)
        self.plateau = assembly.plateau_of(config, self.learning_rate)
        self.early_stop = assembly.early_stop_of(config)
        self.time_limits = assembly.time_limits_of(config)
        self.supervision = Supervision(self)
        if self.supervision.recovery is not None:
            self.supervision.recovery.take_along(self._place())
        if self.measurements is not None:
            self.log.sources.append(self.measurements.layers.measures)
        if self.supervision.stability is not None:
            self.log.writers.append(self.supervision.stability)
        self.before_and_after = BeforeAndAfter(
            config,
            self.splits,
            evaluators=self.evaluators,
            trainer=self.trainer,
            log=self.log,
            signals=self.signals,
            best=run.checkpoints / BEST_CHECKPOINT,
        )
        self.checkpoint = assembly.checkpoint_of(config, run.checkpoints, self._saved())
        self._attach()

    # ------------------------------------------------------------------------------------------------ handlers

    def _attach(self) -> None:
        """Every handler, in the one order.

        Measure, change gradients, judge, step, schedule, evaluate, stop, save, report.
        """
        config, trainer = self.config, self.trainer
        seed, rank = config.trainer.seed, distributed.rank()

        # before a batch: what it meets depends only on where in the run it stands
        IterationSeed(seed, process=rank).attach(trainer)
        for evaluator in (self.evaluator, *self.evaluation.beside.values()):
            IterationSeed(seed, stream=1, process=rank).attach(evaluator)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._seek)
        if assembly.is_shared_out(config):  # DDP does so by itself
            trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: distributed.share_buffers(self.model))

        # measure raw gradients, change them, judge, (step), schedule, average
        if self.measurements is not None:
            self.measurements.layers.attach(trainer, self.optimizer)
        self.clipping.attach(trainer, self.optimizer)
        BufferKeeper(self.model).attach(trainer, self.optimizer)
        if self.guard is not None:
            self.guard.attach(trainer, self.optimizer)
            NonFiniteInput(self._own_samples).attach(trainer, self.optimizer)
        if self.supervision.outlier_steps is not None:
            self.supervision.outlier_steps.attach(trainer, self.optimizer)
        self.learning_rate.attach(trainer)
        if self.ema is not None:
            self.ema.attach(trainer, self.optimizer)

        # rows first, so that no decision is ahead of the log
        self.log.attach(trainer, self.optimizer)
        if self.data.loader.skipped is not None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._count_skipped, self.data.loader.skipped)
        Throughput(self.log.write, every=config.logging.every).attach(trainer)
        self.supervision.attach()

        # evaluate: measure, log, then what acts on the metrics: schedule, stop, save
        measure, draw = optional(self.recipe, "signals"), optional(self.recipe, "pictures")
        if measure is not None:
            WatchedNumbers(measure).attach(self.evaluator)
        if self.measurements is not None:
            self.measurements.units.attach(self.evaluator, trainer)
        self.log.attach_evaluation(self.evaluator, trainer)
        if draw is not None and config.logging.pictures:
            Pictures(draw, self.reporting.picture, count=config.logging.pictures).attach(self.evaluator)
        self.evaluator.add_event_handler(Events.COMPLETED, self.evaluation.done)
        if self.plateau is not None:
            self.plateau.attach(self.evaluator)
        if self.early_stop is not None:
            self.early_stop.attach(self.evaluator, trainer)
        self.checkpoint.attach_best(self.evaluator, trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self.timetable.evaluation), self.evaluation)

        # the recipe's own, then save what all of them have become, then end, then report
        own = optional(self.recipe, "handlers")
        if own is not None:
            own(self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.write_status)
        self.checkpoint.attach(trainer, Events.EPOCH_COMPLETED(event_filter=self.timetable.epoch_save))
        if config.checkpoint.every_iterations:
            self.checkpoint.attach(trainer, Events.ITERATION_COMPLETED(event_filter=self.timetable.iteration_save))
        for limit in self.time_limits.values():
            limit.attach(trainer)
        self.signals.attach(trainer)
        if config.logging.progress:
            self.reporting.progress.attach(trainer)

    def taken_back(self) -> dict[str, Any]:
        """What a rollback gives its earlier state, by name."""
        kept = {"model": self.model, "optimizer": self.optimizer, "precision": self.precision}
        return kept | ({"ema": self.ema} if self.ema is not None else {})

    def _place(self) -> dict[str, Any]:
        """What says where a run stands, by name: small, saved, and never taken back."""
        always = {
            "learning_rate": self.learning_rate,
            f"clipping_{self.config.clip.kind}": self.clipping,
            "loss_weights": self.loss_weights,
            "log": self.log,
            "evaluation": self.evaluation,
            "sampler": self.data.sampler,
            "random": RandomState(),
            "micro_batches": self.micro_batches,
            "evaluation_micro_batches": self.evaluators.micro_batches,
        }
        asked: dict[str, Any] = {"guard": self.guard, "outlier_steps": self.supervision.outlier_steps}
        asked |= {"plateau": self.plateau, "early_stop": self.early_stop, **self.time_limits}
        asked["skipped"] = self.data.loader.skipped
        asked["layer_statistics"] = self.measurements.layers if self.measurements is not None else None
        return {**always, **{name: thing for name, thing in asked.items() if thing is not None}}

    def _saved(self) -> dict[str, Any]:
        """All that has a state to go into checkpoints, by name."""
        return {**self.taken_back(), **self._place(), **self.supervision.state()}

    # -------------------------------------------------------------------------------------------------- details

    def begin(self) -> None:
        """What a run does that starts from nothing: the recipe's weights to start from, if it has some.

        Raises:
            AssemblyError: they cannot be read, or a batch is too small for the model.
        """
        if optional(self.recipe, "initialize") is not None:
            self._initialize()
        refuse_batches_of_one(self)

    def _initialize(self) -> None:
        if not assembly.is_shared_out(self.config):
            assembly.ask(self.recipe, "initialize", self.model)
            return
        whole = assembly.build_model(self.recipe, self.config, self.precision)
        assembly.ask(self.recipe, "initialize", whole)
        give_state(self.model, state_of(whole))

    def _seek(self, engine: Engine) -> None:
        """Tell the sampler which epoch comes, and at which batch of it a resumed run goes on."""
        done = engine.state.iteration - (engine.state.epoch - 1) * len(self.data.loader)
        self.data.sampler.seek(epoch=engine.state.epoch - 1, batch=done)

    def _own_samples(self, iteration: int) -> list[int]:
        """Which samples this process's batch of an iteration consists of."""
        epoch, batch = divmod(iteration - 1, len(self.data.loader))
        return self.data.sampler.indices(epoch, batch)[distributed.rank() :: distributed.world_size()]

    def _out_of_memory(self, engine: Engine) -> dict[str, float]:
        """How often memory was too small so far; only of runs in which it was."""
        failures = self.micro_batches.failures
        return {"train/out_of_memory": failures} if failures else {}

    def _count_skipped(self, engine: Engine, skipped: SkippedSamples) -> None:
        """Tell in the log how many samples of the training data could not be read so far."""
        place = {"iteration": engine.state.iteration, "epoch": engine.state.epoch}
        self.log.write({**place, "data/skipped": skipped.share()})
        skipped.judge()

    def write_status(self, engine: Engine, status: str = "running", reason: str = "") -> None:
        """Tell in status.json where the run stands."""
        if distributed.rank() != 0:
            return
        self.run.write_status(
            status=status,
            reason=reason,
            metric=self.config.checkpoint.metric,
            best=self.checkpoint.best,
            last_checkpoint=str(self.checkpoint.last_path) if self.checkpoint.last_path else None,
            iteration=engine.state.iteration,
            epoch=engine.state.epoch,
            epochs=self.config.trainer.epochs,
            iterations=self.config.trainer.epochs * len(self.data.loader),
            world_size=distributed.world_size(),
            pid=os.getpid(),
        )

"""A recipe and a config, wired into a run: engines, handlers in their order, the run folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torchvision.utils import save_image

from ignition import assembly, checkpoint_file, distributed
from ignition.config import Config
from ignition.data import BadSample
from ignition.engine import build_trainer
from ignition.evaluations import Evaluation, Evaluators
from ignition.events import Diverged
from ignition.handlers.checkpoint import Checkpoint
from ignition.handlers.early_stopping import EarlyStopping
from ignition.handlers.gradient_clipping import GradientClipping
from ignition.handlers.learning_rate import LearningRate, Plateau
from ignition.handlers.metrics_log import MetricsLog
from ignition.handlers.non_finite import NonFiniteSteps
from ignition.handlers.pictures import Pictures
from ignition.handlers.progress import Progress
from ignition.handlers.random_state import RandomState
from ignition.handlers.signals import Signals
from ignition.handlers.tensorboard import TensorBoard
from ignition.handlers.watched_numbers import WatchedNumbers
from ignition.precision import Precision
from ignition.randomness import IterationSeed
from ignition.recipe import Recipe, optional
from ignition.rundir import BEST_CHECKPOINT, RunFolder
from ignition.timetable import Timetable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``status`` as in status.json, why, and the signal that ended it, if one did."""

    status: str
    reason: str
    signal_number: int | None = None


class Training:
    """One run of one recipe: makes the parts, attaches the handlers, trains, evaluates, saves.

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

        self.splits = assembly.build_splits(recipe)
        self.data = assembly.training_data(recipe, config, self.splits.train, self.device)

        self.model = assembly.build_model(recipe, config, self.precision)
        if trainer_settings.compile:
            self.model.compile()
        network = assembly.over_processes(self.model, self.device)
        self.optimizer = assembly.optimizer_of(config, self.model)
        epoch_steps = -(-len(self.data.loader) // trainer_settings.accumulate)
        self.learning_rate = LearningRate(self.optimizer, assembly.schedule_of(config, epoch_steps))

        weights = assembly.loss_weights(config)
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
        )
        self.evaluators = Evaluators(
            recipe, config, self.model, weights=weights, precision=self.precision, clock=self.trainer
        )
        self.evaluator = self.evaluators.build()
        self.val_loader = self.evaluators.loader(self.splits.val, "val")
        self.timetable = Timetable(
            epochs=trainer_settings.epochs,
            epoch_length=len(self.data.loader),
            evaluate_every=trainer_settings.evaluate_every,
            save_every_epochs=config.checkpoint.every_epochs,
            save_every=config.checkpoint.every_iterations,
        )
        self._attach()

    # ------------------------------------------------------------------------------------------------ handlers

    def _attach(self) -> None:
        """Every handler, in the one order: change gradients, judge, step, schedule, evaluate, stop, save, report."""
        config, trainer = self.config, self.trainer
        seed, rank = config.trainer.seed, distributed.rank()

        # before a batch: what it meets depends only on where in the run it stands
        IterationSeed(seed, process=rank).attach(trainer)
        IterationSeed(seed, stream=1, process=rank).attach(self.evaluator)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._seek)

        # change gradients, judge, (step), schedule
        clip = config.clip
        self.clipping = GradientClipping(
            max_norm=clip.max_norm if clip.kind == "norm" else None,
            max_value=clip.max_value if clip.kind == "value" else None,
        )
        self.clipping.attach(trainer, self.optimizer)
        self.guard = NonFiniteSteps(policy=config.stability.policy, max_skips=config.stability.max_skips)
        self.guard.attach(trainer, self.optimizer)
        self.learning_rate.attach(trainer)

        # rows first, so that no decision is ahead of the log
        self.progress = Progress(metrics=tuple(dict.fromkeys(("val/loss", config.checkpoint.metric))))
        writers: list[Callable[[dict[str, Any]], None]] = [self.run.write_metrics, self.progress]
        self.tensorboard = self._tensorboard()
        if self.tensorboard is not None:
            writers.append(self.tensorboard)
        self.log = MetricsLog(*writers, every=config.logging.every)
        self.log.attach(trainer, self.optimizer)

        # evaluate: measure, log, then what acts on the metrics: schedule, stop, save
        self.evaluation = Evaluation(self.evaluator, self.val_loader)
        measure = optional(self.recipe, "signals")
        if measure is not None:
            WatchedNumbers(measure).attach(self.evaluator)
        self.log.attach_evaluation(self.evaluator, trainer)
        draw = optional(self.recipe, "pictures")
        if draw is not None and config.logging.pictures:
            Pictures(draw, self._write_picture, count=config.logging.pictures).attach(self.evaluator)
        self.evaluator.add_event_handler(Events.COMPLETED, self.evaluation.done)
        objects = self._act_on_metrics()
        self.checkpoint = Checkpoint(
            self.run.checkpoints,
            {"model": self.model, "optimizer": self.optimizer, "precision": self.precision, **objects},
            keep=config.checkpoint.keep,
            metric=config.checkpoint.metric,
            mode=config.checkpoint.mode,
            optional=("plateau", "early_stop"),  # settings of a run that may be changed when it goes on
        )
        self.checkpoint.attach_best(self.evaluator, trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self.timetable.evaluation), self.evaluation)

        # the recipe's own, then save what all of them have become, then report
        own = optional(self.recipe, "handlers")
        if own is not None:
            own(self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._write_status)
        self.checkpoint.attach(trainer, Events.EPOCH_COMPLETED(event_filter=self.timetable.epoch_save))
        if config.checkpoint.every_iterations:
            self.checkpoint.attach(trainer, Events.ITERATION_COMPLETED(event_filter=self.timetable.iteration_save))
        self.signals = Signals()
        self.signals.attach(trainer, self.evaluator)
        if config.logging.progress:
            self.progress.attach(trainer)

    def _act_on_metrics(self) -> dict[str, Any]:
        """What changes the run after an evaluation; and all that has a state to go into checkpoints."""
        config = self.config
        objects: dict[str, Any] = {
            "learning_rate": self.learning_rate,
            "guard": self.guard,
            "log": self.log,
            "evaluation": self.evaluation,
            "random": RandomState(),
        }
        if config.schedule.name == "plateau":
            settings = config.schedule
            objects["plateau"] = Plateau(
                self.learning_rate,
                metric=settings.metric,
                mode=settings.mode,
                factor=settings.factor,
                patience=settings.patience,
                min_lr=settings.min_lr,
                threshold=settings.threshold,
                cooldown=settings.cooldown,
            )
            objects["plateau"].attach(self.evaluator)
        if config.early_stop is not None:
            stop = config.early_stop
            objects["early_stop"] = EarlyStopping(
                stop.metric,
                stop.mode,
                patience=stop.patience,
                min_delta=stop.min_delta,
                relative=stop.relative,
                start_epoch=stop.start_epoch,
            )
            objects["early_stop"].attach(self.evaluator, self.trainer)
        return objects

    # -------------------------------------------------------------------------------------------------- running

    def begin(self) -> None:
        """What a run does that starts from nothing: the recipe's weights to start from, if it has some.

        Raises:
            AssemblyError: they cannot be read.
        """
        if optional(self.recipe, "initialize") is not None:
            assembly.ask(self.recipe, "initialize", self.model)

    def restore(self) -> bool:
        """Go on from the newest whole checkpoint. False where the run has none yet.

        Raises:
            AssemblyError: the checkpoint does not fit this data or model.
        """
        payload = self.checkpoint.restore(map_location=self.device)
        if payload is None:
            self._rewind_metrics(-1)
            return False
        length = len(self.data.loader)
        if payload["epoch_length"] not in (None, length):  # None: saved before the first step
            raise assembly.AssemblyError(
                f"{self.run.path}: an epoch of this run has {payload['epoch_length']} batches, and with this data and "
                f"data.batch_size it would have {length}: go on with what it was started with, or start a new run"
            )
        state: Any = self.trainer.state
        state.iteration, state.epoch_length = payload["iteration"], length
        state.epoch, state.steps = payload["iteration"] // length, self.learning_rate.steps
        state.max_epochs = self.config.trainer.epochs
        # What is done before the first step is done again, so its rows go too.
        self._rewind_metrics(payload["iteration"] or -1)
        return True

    def _rewind_metrics(self, iteration: int) -> None:
        """Rows of later iterations go: they come again."""
        if distributed.rank() == 0:
            self.run.rewind_metrics(iteration)

    @property
    def finished(self) -> bool:
        """Whether a restored run has nothing left to do."""
        state, epochs = self.trainer.state, self.config.trainer.epochs
        return state.epoch_length is not None and state.iteration >= epochs * state.epoch_length and (
            not self.evaluation.due
        )  # fmt: skip

    def fit(self) -> Outcome:
        """Train to the end, or to where the run is stopped; every way out leaves status.json true.

        Raises:
            Diverged, BadSample, and whatever the recipe raises: after the run folder was told.
        """
        self._write_status(self.trainer)
        try:
            with self.signals:
                if self.trainer.state.iteration == 0:
                    self._before_training()
                elif self.evaluation.due:  # interrupted before the evaluation at the end of an epoch
                    self.evaluation(self.trainer)
                if getattr(self.trainer.state, "stop", None) is None and not self.finished:
                    self.trainer.run(self.data.loader, max_epochs=self.config.trainer.epochs)
            outcome = self._outcome()
            if outcome.status == "preempted":
                self._save_if_whole()
            else:
                self._evaluate_others("after")
                self._evaluate_test()
            self._write_status(self.trainer, outcome.status, outcome.reason)
            return outcome
        except Diverged as error:
            self._write_status(self.trainer, "diverged", str(error))
            raise
        except BadSample as error:
            self._save_if_whole()
            self._write_status(self.trainer, "failed", str(error))
            raise
        except KeyboardInterrupt:
            self._write_status(self.trainer, "preempted", "interrupted at once: what came after the last save is lost")
            raise
        except BaseException as error:
            self._write_status(self.trainer, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            self.data.loader.close()
            self.val_loader.close()
            self.log.flush()
            self.run.close()
            if self.tensorboard is not None:
                self.tensorboard.close()

    def _before_training(self) -> None:
        """What is known before the first step: the trivial predictor's score, and, if asked, the model's own."""
        trivial = self.evaluators.run_baseline(self.splits)
        if trivial is not None:
            self.log.write_evaluation(trivial, self.trainer, "baseline")
        if self.config.trainer.evaluate_first:
            self.evaluation(self.trainer)
            self._evaluate_others("before")

    def _evaluate_others(self, when: str) -> None:
        """Further validation sets, under their own name: ``<name>/before/<metric>`` and ``<name>/after/<metric>``."""
        for name, dataset in self.splits.others.items():
            self.log.write_evaluation(self.evaluators.run(dataset, name), self.trainer, f"{name}/{when}")

    def _evaluate_test(self) -> None:
        """The test data, if there is any: once, with the best weights. It takes part in no choice."""
        if self.splits.test is None:
            return
        best = self.run.checkpoints / BEST_CHECKPOINT
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        if best.is_file():
            self.model.load_state_dict(checkpoint_file.load(best, map_location=self.device)["model"])
        self.log.write_evaluation(self.evaluators.run(self.splits.test, "test"), self.trainer, "test")
        self.model.load_state_dict(trained)

    def _outcome(self) -> Outcome:
        ended = getattr(self.trainer.state, "stop", None)
        if ended is None:
            return Outcome("finished", f"all {self.config.trainer.epochs} epochs done")
        return Outcome(ended.status, ended.reason, self.signals.signal_number)

    def _save_if_whole(self) -> None:
        """Save where the run stands, unless it stands inside a group of accumulated gradients."""
        state: Any = self.trainer.state
        if not state.group_open and state.iteration > 0:
            self.checkpoint.save(self.trainer)

    # -------------------------------------------------------------------------------------------------- details

    def _seek(self, engine: Engine) -> None:
        """Tell the sampler which epoch comes, and at which batch of it a resumed run goes on."""
        done = engine.state.iteration - (engine.state.epoch - 1) * len(self.data.loader)
        self.data.sampler.seek(epoch=engine.state.epoch - 1, batch=done)

    def _tensorboard(self) -> TensorBoard | None:
        if not self.config.logging.tensorboard or distributed.rank() != 0:
            return None
        return TensorBoard(self.run.path, purge_step=self.trainer.state.iteration + 1)

    def _write_picture(self, name: str, image: torch.Tensor) -> None:
        save_image(image, self.run.picture(self.trainer.state.epoch, name))
        if self.tensorboard is not None:
            self.tensorboard.image(name, image, self.trainer.state.iteration)

    def _write_status(self, engine: Engine, status: str = "running", reason: str = "") -> None:
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
            world_size=distributed.world_size(),
            pid=os.getpid(),
        )

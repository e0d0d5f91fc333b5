"""A recipe and a config, wired into a run: engines, handlers in their order, the run folder."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events

from ignition import assembly, distributed
from ignition.before_and_after import BeforeAndAfter
from ignition.config import Config
from ignition.data import BadSample
from ignition.engine import build_trainer
from ignition.evaluations import Evaluation, Evaluators
from ignition.events import Diverged, Stop, go_on, stop
from ignition.handlers.consensus import Consensus
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.metrics_log import MetricsLog
from ignition.handlers.non_finite import NonFiniteSteps
from ignition.handlers.pictures import Pictures
from ignition.handlers.random_state import RandomState
from ignition.handlers.recovery import Return
from ignition.handlers.signals import Signals
from ignition.handlers.throughput import Throughput
from ignition.handlers.watched_numbers import WatchedNumbers
from ignition.optimizer import options_of, set_options
from ignition.precision import Precision
from ignition.randomness import IterationSeed
from ignition.recipe import Recipe, optional
from ignition.reporting import Reporting
from ignition.rundir import BEST_CHECKPOINT, RunFolder
from ignition.scheduling import schedule_of
from ignition.timetable import Timetable

log = logging.getLogger(__name__)

ROLLBACKS = 3  # returns to one and the same checkpoint; what did not help so often will not help


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
        self._rollbacks, self._rolled_back_to = 0, -1
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
        self._options = options_of(self.optimizer)
        epoch_steps = -(-len(self.data.loader) // trainer_settings.accumulate)
        self.learning_rate = LearningRate(self.optimizer, schedule_of(config, epoch_steps), keep_rates=False)
        self.clipping = assembly.clipping_of(config, self.model)
        self.guard = NonFiniteSteps(policy=config.stability.policy, max_skips=config.stability.max_skips)
        self.ema = assembly.average_of(config, self.model)

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
        kept = {"model": self.model, "optimizer": self.optimizer, "precision": self.precision}
        kept |= {"ema": self.ema} if self.ema is not None else {}
        self.recovery = assembly.recovery_of(config, kept, self.learning_rate, self._after_return)
        self.stability = assembly.stability_of(
            config, self.learning_rate, self.recovery, tell=run.write_incident, samples=self._samples, blame=self._blame
        )
        self.log = MetricsLog(*self.reporting.writers, every=config.logging.every, sources=[self.clipping.measures])
        if self.stability is not None:
            self.log.writers.append(self.stability)
        self.before_and_after = BeforeAndAfter(
            config,
            self.splits,
            evaluators=self.evaluators,
            trainer=self.trainer,
            log=self.log,
            signals=self.signals,
            best=run.checkpoints / BEST_CHECKPOINT,
        )
        self.plateau = assembly.plateau_of(config, self.learning_rate)
        self.early_stop = assembly.early_stop_of(config)
        self.time_limits = assembly.time_limits_of(config)
        self.checkpoint = assembly.checkpoint_of(config, run.checkpoints, self._saved())
        self._attach()

    # ------------------------------------------------------------------------------------------------ handlers

    def _attach(self) -> None:
        """Every handler, in the one order: change gradients, judge, step, schedule, evaluate, stop, save, report."""
        config, trainer = self.config, self.trainer
        seed, rank = config.trainer.seed, distributed.rank()

        # before a batch: what it meets depends only on where in the run it stands
        IterationSeed(seed, process=rank).attach(trainer)
        for evaluator in (self.evaluator, *self.evaluation.beside.values()):
            IterationSeed(seed, stream=1, process=rank).attach(evaluator)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._seek)

        # change gradients, judge, (step), schedule, average
        self.clipping.attach(trainer, self.optimizer)
        self.guard.attach(trainer, self.optimizer)
        self.learning_rate.attach(trainer)
        if self.ema is not None:
            self.ema.attach(trainer, self.optimizer)

        # rows first, so that no decision is ahead of the log
        self.log.attach(trainer, self.optimizer)
        Throughput(self.log.write, every=config.logging.every).attach(trainer)
        if self.stability is not None:
            self.stability.attach(trainer)
        if self.recovery is not None:
            self.recovery.attach(trainer)

        # evaluate: measure, log, then what acts on the metrics: schedule, stop, save
        measure, draw = optional(self.recipe, "signals"), optional(self.recipe, "pictures")
        if measure is not None:
            WatchedNumbers(measure).attach(self.evaluator)
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
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._write_status)
        self.checkpoint.attach(trainer, Events.EPOCH_COMPLETED(event_filter=self.timetable.epoch_save))
        if config.checkpoint.every_iterations:
            self.checkpoint.attach(trainer, Events.ITERATION_COMPLETED(event_filter=self.timetable.iteration_save))
        for limit in self.time_limits.values():
            limit.attach(trainer)
        self.signals.attach(trainer)
        if config.logging.progress:
            self.reporting.progress.attach(trainer)

    def _saved(self) -> dict[str, Any]:
        """All that has a state to go into checkpoints, by name."""
        always = {
            "model": self.model,
            "optimizer": self.optimizer,
            "precision": self.precision,
            "learning_rate": self.learning_rate,
            f"clipping_{self.config.clip.kind}": self.clipping,
            "guard": self.guard,
            "log": self.log,
            "evaluation": self.evaluation,
            "sampler": self.data.sampler,
            "random": RandomState(),
        }
        asked: dict[str, Any] = {"plateau": self.plateau, "early_stop": self.early_stop, "ema": self.ema}
        asked["stability"] = self.stability  # behind the log, which hands it what is pending
        asked["recovery"] = self.recovery
        asked |= self.time_limits
        return {**always, **{name: thing for name, thing in asked.items() if thing is not None}}

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
            self.reporting.rewind(-1)
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
        changed = set_options(self.optimizer, self._options)  # the config's, which may have been changed, hold
        if changed:
            log.info("the optimizer goes on with %s", ", ".join(changed))
        # What is done before the first step is done again, so its rows go too.
        self.reporting.rewind(payload["iteration"] or -1)
        return True

    @property
    def finished(self) -> bool:
        """Whether a restored run has nothing left to do."""
        state, epochs = self.trainer.state, self.config.trainer.epochs
        return state.epoch_length is not None and state.iteration >= epochs * state.epoch_length and (
            not self.evaluation.due
        )  # fmt: skip

    def stay_stopped(self) -> None:
        """A run that had stopped early before it was interrupted is not trained further; what comes after is done."""
        if self.early_stop is not None and self.early_stop.reason is not None:
            stop(self.trainer, self.early_stop.reason)

    def fit(self) -> Outcome:
        """Train to the end, or to where the run is stopped; every way out leaves status.json true.

        Raises:
            Diverged, BadSample, and whatever the recipe raises: after the run folder was told.
        """
        self._write_status(self.trainer)
        failed = True
        if self.ema is not None and self.ema.updates == 0:
            self.ema.reset()  # the weights may have been given since it was made
        try:
            with self.signals:
                if self.trainer.state.iteration == 0:
                    self._before_training()
                elif self.evaluation.due and self._stop is None:  # interrupted before the evaluation after an epoch
                    self.evaluation(self.trainer)
                self._train()
                outcome = self._outcome()
                self._save_if_whole()
                if outcome.status != "preempted":
                    self.before_and_after.after()
                    outcome = self._outcome()  # that may have been interrupted, too
            self._write_status(self.trainer, outcome.status, outcome.reason)
            failed = False
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
            self.log.close()
            self.reporting.close(failed=failed)

    def _train(self) -> None:
        """Epoch after epoch; from the last checkpoint again whenever a handler asks to go back to it."""
        while self._stop is None and not self.finished:
            self.trainer.run(self.data.loader, max_epochs=self.config.trainer.epochs)
            if self._stop is not None and self._stop.status == "rollback":
                self._roll_back(self._stop.reason)

    def _roll_back(self, reason: str) -> None:
        """Become what the newest checkpoint holds; rows written since go.

        Raises:
            Diverged: there is no checkpoint.
        """
        left = self.trainer.state.iteration
        go_on(self.trainer)
        if not self.restore():
            raise Diverged(f"{reason} (iteration {left}), and there is no checkpoint to go back to")
        goal = self.trainer.state.iteration
        self._rollbacks = self._rollbacks + 1 if goal == self._rolled_back_to else 1
        self._rolled_back_to = goal
        if self._rollbacks > ROLLBACKS:
            raise Diverged(f"{reason} (iteration {left}), again after {ROLLBACKS} returns to iteration {goal}")
        log.warning("iteration %d: back to iteration %d, since %s", left, goal, reason)

    def _before_training(self) -> None:
        """What is known before the first step: the trivial predictor's score, and, if asked, the model's own."""
        self.before_and_after.baseline()
        if self.config.trainer.evaluate_first and self._stop is None:
            self.evaluation(self.trainer)
            self.before_and_after.others("before")

    @property
    def _stop(self) -> Stop | None:
        """Why the trainer was stopped, if it was."""
        return getattr(self.trainer.state, "stop", None)

    def _outcome(self) -> Outcome:
        number = self.signals.signal_number
        if number is not None:
            return Outcome("preempted", self.signals.reason, number)
        if self._stop is None:
            return Outcome("finished", f"all {self.config.trainer.epochs} epochs done")
        return Outcome(self._stop.status, self._stop.reason)

    def _save_if_whole(self) -> None:
        """Save where the run stands, unless that was done, or it stands inside a group of accumulated gradients."""
        state: Any = self.trainer.state
        if not state.group_open and state.iteration > 0:
            self.checkpoint(self.trainer)
        self.checkpoint.wait()

    # -------------------------------------------------------------------------------------------------- details

    def _after_return(self, engine: Engine, done: Return) -> None:
        """The run has earlier weights again: nobody is to go on from those between, nor to compare with them."""
        if self.stability is not None:
            self.stability.doctor.reset()
        Consensus.of(engine).ask("save", "the run has earlier weights again")

    def _samples(self, iteration: int) -> list[int]:
        """Which samples the batch of an iteration consists of, over all processes."""
        epoch, batch = divmod(iteration - 1, len(self.data.loader))
        return self.data.sampler.indices(epoch, batch)

    def _blame(self, iteration: int) -> list[int]:
        """Count the samples of an iteration's batch as guilty; those that will be left out."""
        return self.data.sampler.blame(self._samples(iteration))

    def _seek(self, engine: Engine) -> None:
        """Tell the sampler which epoch comes, and at which batch of it a resumed run goes on."""
        done = engine.state.iteration - (engine.state.epoch - 1) * len(self.data.loader)
        self.data.sampler.seek(epoch=engine.state.epoch - 1, batch=done)

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

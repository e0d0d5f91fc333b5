"""The life of a run: taken up or begun, trained, taken back, ended; and every way out leaves status.json true."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ignition import assembly, distributed
from ignition.assembly import AssemblyError
from ignition.data import BadSample
from ignition.events import Diverged, Stop, go_on, stop
from ignition.optimizer import set_options
from ignition.training import Training

log = logging.getLogger(__name__)

ROLLBACKS = 3  # returns to one and the same checkpoint; what did not help so often will not help


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``status`` as in status.json, why, and the signal that ended it, if one did."""

    status: str
    reason: str
    signal_number: int | None = None


def stand_at(training: Training, iteration: int) -> None:
    """Let a run whose parts have been given their states go on after ``iteration``."""
    state: Any = training.trainer.state
    length = len(training.data.loader)
    state.iteration, state.epoch_length = iteration, length
    state.epoch, state.steps = iteration // length, training.learning_rate.steps
    state.max_epochs = training.config.trainer.epochs
    changed = set_options(training.optimizer, training.options)  # the config's, which may have been changed, hold
    if changed:
        log.info("the optimizer goes on with %s", ", ".join(changed))


class Lifecycle:
    """Takes a run through its life.

    Args:
        training: the parts, wired.
    """

    def __init__(self, training: Training):
        self.training, self.trainer = training, training.trainer
        self._rollbacks, self._rolled_back_to = 0, -1

    def restore(self) -> bool:
        """Go on from the newest whole checkpoint. False where the run has none yet.

        Raises:
            AssemblyError: the checkpoint does not fit this data or model.
        """
        training = self.training
        # Whole weights and moments need not fit on a device that is to have a share of them.
        where = "cpu" if assembly.is_shared_out(training.config) else training.device
        payload = training.checkpoint.restore(map_location=where)
        if payload is None:
            training.reporting.rewind(-1)
            return False
        length = len(training.data.loader)
        if payload["epoch_length"] not in (None, length):  # None: saved before the first step
            raise AssemblyError(
                f"{training.run.path}: an epoch of this run has {payload['epoch_length']} batches, and with this data "
                f"and data.batch_size it would have {length}: go on with what it was started with, or start a new run"
            )
        stand_at(training, payload["iteration"])
        # What is done before the first step is done again, so its rows go too.
        training.reporting.rewind(payload["iteration"] or -1)
        return True

    @property
    def finished(self) -> bool:
        """Whether a restored run has nothing left to do."""
        state, epochs = self.trainer.state, self.training.config.trainer.epochs
        return state.epoch_length is not None and state.iteration >= epochs * state.epoch_length and (
            not self.training.evaluation.due
        )  # fmt: skip

    def stay_stopped(self) -> None:
        """A run that had stopped early before it was interrupted is not trained further; what comes after is done."""
        early_stop = self.training.early_stop
        if early_stop is not None and early_stop.reason is not None:
            stop(self.trainer, early_stop.reason)

    def fit(self) -> Outcome:
        """Train to the end, or to where the run is stopped; every way out leaves status.json true.

        Raises:
            Diverged, BadSample, ProcessLost, and whatever the recipe raises: after the run folder was told.
        """
        training = self.training
        training.write_status(self.trainer)
        failed, lost = True, False
        if training.ema is not None and training.ema.updates == 0:
            training.ema.reset()  # the weights may have been given since it was made
        training.signals.listen()
        try:
            if self.trainer.state.iteration == 0:
                self._before_training()
            elif training.evaluation.due and self._stop is None:  # interrupted before what comes after an epoch
                training.evaluation(self.trainer)
            self._train()
            outcome = self._outcome()
            self._save_if_whole()
            if outcome.status != "preempted":
                training.before_and_after.after()
                outcome = self._outcome()  # that may have been interrupted, too
            training.write_status(self.trainer, outcome.status, outcome.reason)
            failed = False
            return outcome
        except Diverged as error:
            training.supervision.tell_divergence(error)
            good = training.supervision.last_good()
            reason = f"{error}. Last good checkpoint: {good}" if good is not None else str(error)
            training.write_status(self.trainer, "diverged", reason)
            raise Diverged(reason) from error
        except BadSample as error:
            if error.everywhere or distributed.world_size() == 1:  # else the others would not come to save
                self._save_if_whole()
            training.write_status(self.trainer, "failed", str(error))
            raise
        except KeyboardInterrupt:
            reason = "interrupted at once: what came after the last save is lost"
            training.write_status(self.trainer, "preempted", reason)
            raise
        except BaseException as error:
            cause = distributed.cause_of(error)
            if isinstance(cause, distributed.ProcessLost):
                lost = True
                cause = distributed.ProcessLost(f"{cause}. Last whole checkpoint: {training.checkpoint.last_path}")
            training.write_status(self.trainer, "failed", f"{type(cause).__name__}: {cause}")
            if cause is error:
                raise
            raise cause from error
        finally:
            training.data.loader.close()
            training.val_loader.close()
            training.log.close()
            training.reporting.close(failed=failed)
            if not lost:  # else torchrun's SIGTERM, which comes then, would cut the last words short
                training.signals.restore()

    def _train(self) -> None:
        """Epoch after epoch; from the last checkpoint again whenever a handler asks to go back to it."""
        while self._stop is None and not self.finished:
            self.trainer.run(self.training.data.loader, max_epochs=self.training.config.trainer.epochs)
            if self._stop is not None and self._stop.status == "rollback":
                self._roll_back(self._stop.reason)

    def _roll_back(self, reason: str) -> None:
        """Become what the newest checkpoint holds; rows written since go. With a `Recovery` attached nobody comes here.

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
        self.training.before_and_after.baseline()
        if self.training.config.trainer.evaluate_first and self._stop is None:
            self.training.evaluation(self.trainer)
            self.training.before_and_after.others("before")

    @property
    def _stop(self) -> Stop | None:
        """Why the trainer was stopped, if it was."""
        return getattr(self.trainer.state, "stop", None)

    def _outcome(self) -> Outcome:
        number = self.training.signals.signal_number
        if number is not None:
            return Outcome("preempted", self.training.signals.reason, number)
        if self._stop is None:
            return Outcome("finished", f"all {self.training.config.trainer.epochs} epochs done")
        return Outcome(self._stop.status, self._stop.reason)

    def _save_if_whole(self) -> None:
        """Save where the run stands, unless that was done, or it stands inside a group of accumulated gradients."""
        state: Any = self.trainer.state
        if not state.group_open and state.iteration > 0:
            self.training.checkpoint(self.trainer)
        self.training.checkpoint.wait()

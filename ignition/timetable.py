"""When something is due in a run that is counted in epochs and iterations."""

from __future__ import annotations

from dataclasses import dataclass

from ignite.engine import Engine


@dataclass(frozen=True)
class Timetable:
    """When evaluations and saves are due; the methods are event filters of ignite.

    Attributes:
        epochs: of the run; what is due every so many epochs is due in the last one too.
        epoch_length: iterations of an epoch.
        evaluate_every, save_every_epochs: in epochs.
        save_every: in iterations; None for never within an epoch.
    """

    epochs: int
    epoch_length: int
    evaluate_every: int = 1
    save_every_epochs: int = 1
    save_every: int | None = None

    def evaluation(self, engine: Engine, epoch: int) -> bool:
        """At the end of ``epoch``: is it evaluated?"""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    def epoch_save(self, engine: Engine, epoch: int) -> bool:
        """At the end of ``epoch``: is it saved? Also where a save every so many iterations is due just then."""
        last = epoch * self.epoch_length
        by_iteration = self.save_every is not None and last % self.save_every == 0
        return epoch % self.save_every_epochs == 0 or epoch == self.epochs or by_iteration

    def iteration_save(self, engine: Engine, iteration: int) -> bool:
        """After ``iteration``: is it saved? Not at an epoch's last: that save waits for what the epoch's end brings."""
        due = self.save_every is not None and iteration % self.save_every == 0
        return due and iteration % self.epoch_length != 0

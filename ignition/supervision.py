"""Looks after a run: finds trouble in what is measured, acts upon it, and keeps what it takes to run it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events

from ignition import assembly, checkpoint_file
from ignition.events import Diverged, StabilityEvents
from ignition.handlers.consensus import Consensus
from ignition.handlers.recovery import Return
from ignition.incidents.incident_bundles import IncidentBundles
from ignition.stability import Finding

if TYPE_CHECKING:
    from ignition.training import Training


class Supervision:
    """The doctor of a run, its remedies, and the bundles of its incidents.

    Args:
        training: whose parts are there, apart from what is attached to them.

    Attributes:
        outlier_steps: leaves out steps; recovery: takes the run back; stability: finds, and acts. None where the
            config does not ask for it.
        bundles: what it takes to run an incident again.
    """

    def __init__(self, training: Training):
        self.training, config = training, training.config
        self.outlier_steps = assembly.outlier_steps_of(config)
        self.recovery = assembly.recovery_of(config, training.taken_back(), training.learning_rate, self._after_return)
        self.bundles = IncidentBundles(
            training.run,
            config,
            training.trainer,
            model=training.model,
            optimizer=training.optimizer,
            sampler=training.data.sampler,
            recovery=self.recovery,
            precision=training.precision,
        )
        remedies = assembly.Remedies(
            training.learning_rate,
            training.clipping,
            training.loss_weights,
            self.recovery,
            self.outlier_steps,
            cut=config.stability.cut,
            blame=self._blame,
        )
        doctor = assembly.doctor_of(config, epoch_length=len(training.data.loader), samples=self._samples)
        self.stability = assembly.stability_of(config, doctor, remedies, tell=self._tell)

    def attach(self) -> None:
        """Find, act, take snapshots; none while a rise is suspected, which would drive out the good ones."""
        trainer, stability, recovery = self.training.trainer, self.stability, self.recovery
        if stability is not None:
            stability.attach(trainer)
        if recovery is None or stability is None:
            return
        recovery.attach(trainer)
        trainer.add_event_handler(StabilityEvents.SLOW_DIVERGENCE, self._suspect)
        trainer.add_event_handler(StabilityEvents.RECOVERED, self._trust)
        rises = {iteration - 1 for iteration in stability.doctor.changes.rates}  # of the step; its loss comes after it
        if rises:
            rising = Events.ITERATION_STARTED(event_filter=lambda engine, iteration: iteration in rises)
            trainer.add_event_handler(rising, recovery.expect_rise)

    def _suspect(self, engine: Engine) -> None:
        if self.recovery is not None:
            self.recovery.suspect(engine.state.finding.first)  # type: ignore[attr-defined]

    def _trust(self, engine: Engine) -> None:
        finding: Finding = engine.state.finding  # type: ignore[attr-defined]
        if self.recovery is not None and finding.subject == "slow_divergence":
            self.recovery.suspect(None)

    def measured(self, row: dict[str, Any]) -> None:
        """What was measured within the model goes to the run folder, and to who looks for trouble."""
        self.training.run.write_measurement(row)
        if "layers" in row:
            self.bundles.measured = row
        if self.stability is not None:
            self.stability(row)

    def _tell(self, incident: dict[str, Any]) -> None:
        """An incident: its row, and what it takes to run it again."""
        self.training.run.write_incident(incident)
        self.bundles(incident)

    def tell_divergence(self, error: Diverged) -> None:
        """Tell what led to the end of a run that has diverged, as far as it is known. Each process for itself."""
        self.training.log.close()  # the last rows may show it
        if self.stability is None:
            return
        guard, more = self.training.guard, []
        found = self.stability.doctor.detectors["non_finite"].active
        if guard is not None and guard.in_row and not found:  # the iteration ended half-way and has no row
            iteration = self.training.trainer.state.iteration
            more.append(Finding("non_finite", "critical", str(error), iteration, iteration))
        self.stability.end(self.training.trainer, *more)

    def last_good(self) -> Path | None:
        """The newest checkpoint from before things went wrong, else the best one; None where there is neither."""
        folder = self.training.run.checkpoints
        wrong_from = self.stability.wrong_from if self.stability is not None else None
        before = [
            path
            for path in checkpoint_file.numbered(folder)
            if wrong_from is None or (checkpoint_file.iteration_of(path) or 0) < wrong_from
        ]
        best = folder / checkpoint_file.BEST
        return before[-1] if before else best if best.exists() else None

    def _after_return(self, engine: Engine, done: Return) -> None:
        """The run has earlier weights again: nobody is to go on from those between, nor to compare with them."""
        if self.stability is not None:
            wrong_from = self.stability.wrong_from
            began = wrong_from if wrong_from is not None and wrong_from > done.snapshot else done.snapshot + 1
            self.stability.doctor.take_back(began)
        Consensus.of(engine).ask("save", "the run has earlier weights again")

    def _samples(self, iteration: int) -> list[int]:
        """Which samples the batch of an iteration consists of, over all processes."""
        epoch, batch = divmod(iteration - 1, len(self.training.data.loader))
        return self.training.data.sampler.indices(epoch, batch)

    def _blame(self, iteration: int) -> list[int]:
        """Count the samples of an iteration's batch as guilty; those that will be left out."""
        return self.training.data.sampler.blame(self._samples(iteration))

    def state(self) -> dict[str, Any]:
        """What of it goes into checkpoints, by name; behind the log, which hands it rows."""
        return {
            name: thing
            for name, thing in (("stability", self.stability), ("recovery", self.recovery))
            if thing is not None
        }

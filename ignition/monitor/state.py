"""How a run stands, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """What is known of a run; None is not known.

    Attributes:
        status: ``running``, ``finished``, ``stopped``, ``preempted``, ``diverged`` or ``failed`` as the run says, or
            ``dead`` (it says that it runs, and its process is gone), ``silent`` (no row for longer than usual),
            ``waiting`` (nothing is there yet), ``log`` (somebody else's log, which does not say).
        reason: why it ended, or what makes it dead or silent.
        epoch, epochs, iteration, iterations: how far, and how far it will go.
        steps_per_second: as it usually is, without evaluations.
        seconds_left: to the last iteration, with evaluations.
        silent_seconds: since the newest row.
        seconds: from the first row to the newest.
        learning_rate: of the newest step.
        metric, mode: what the best weights are chosen by.
        best, best_iteration: its best value so far, and when.
        last: its newest value.
        trivial: what the trivial predictor scores in it.
        loss, val_loss: of the newest epoch and of the newest evaluation.
        gap: ``val_loss`` less ``loss``.
        checkpoint: the newest one's path.
        disk_left: bytes on the disk of the run.
        read: how much of the log has been read, 0 to 1.
    """

    status: str = "waiting"
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    iteration: int | None = None
    iterations: int | None = None
    steps_per_second: float | None = None
    seconds_left: float | None = None
    silent_seconds: float | None = None
    seconds: float | None = None
    learning_rate: float | None = None
    metric: str | None = None
    mode: str = "min"
    best: float | None = None
    best_iteration: int | None = None
    last: float | None = None
    trivial: float | None = None
    loss: float | None = None
    val_loss: float | None = None
    gap: float | None = None
    checkpoint: str | None = None
    disk_left: int | None = None
    read: float = 1.0

    @property
    def alive(self) -> bool:
        """Whether more is to be expected of it."""
        return self.status in ("running", "silent", "waiting", "log")

    @property
    def lost(self) -> bool:
        """Whether it has ended as it should not."""
        return self.status in ("dead", "failed", "diverged")

    @property
    def share(self) -> float | None:
        """How much of the run is done, 0 to 1."""
        if self.iteration is not None and self.iterations:
            return min(self.iteration / self.iterations, 1.0)
        return min(self.epoch / self.epochs, 1.0) if self.epoch is not None and self.epochs else None

"""Leaves of each incident what it takes to run it again."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from ignition import checkpoint_file, distributed
from ignition.checkpoint_file import BadCheckpoint, Payload
from ignition.config import Config
from ignition.data import BatchSampler
from ignition.handlers.recovery import Recovery
from ignition.incidents.layers import sizes, write_csv
from ignition.precision import Precision
from ignition.rundir import Bundle, RunFolder
from ignition.stability import ABOUT_STEPS

log = logging.getLogger(__name__)

Row = Mapping[str, Any]

ROWS = 200  # of the log before the incident
FURTHER_ROWS = 800  # at most, of those since
BATCHES = 16  # whose samples are named
LEAD, FAR = 8, 200  # iterations before the incident, between which a state is best


class IncidentBundles:
    """Writes a bundle for each incident about single steps, until there are ``config.stability.bundles`` of the run.

    A bundle is a folder with the row of the finding and the samples of its batches, the last rows of the log, a table
    of the parameters, the settings, and a checkpoint from before the incident: the newest that leads there, but better
    one from some iterations earlier; be it a snapshot of ``recovery`` in memory or a file, which gets a second name
    then. Where there is none yet, the run's beginning has to do, which follows from the seed.

    All is written at once, while the run waits: incidents are few, and a snapshot must not be overwritten meanwhile.
    Whatever fails, a full disk for instance, is told once and the run goes on. For process 0.

    Args:
        run: the folder.
        config: the run's settings.
        trainer: says in which iteration the run is.
        model, optimizer: what the table is of.
        sampler: which samples a batch has.
        recovery: whose snapshots are nearer than the checkpoints.
        precision: how wide the numbers are and where.

    Attributes:
        measured: the newest row about layers, for who measures them to set.
    """

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        trainer: Engine,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        sampler: BatchSampler,
        recovery: Recovery | None,
        precision: Precision,
    ):
        self.run, self.config, self.trainer = run, config, trainer
        self.model, self.optimizer, self.sampler = model, optimizer, sampler
        self.recovery, self.precision = recovery, precision
        self.measured: Row | None = None
        self._not_finite = [f"model.{name}" for name in checkpoint_file.infinite_buffers(model)]
        self._warned = False

    def __call__(self, row: Row) -> None:
        """Write the bundle of the incident of which ``row`` is the row, if it has one."""
        if row["name"] not in ABOUT_STEPS or row["severity"] == "info":
            return
        try:
            if len(self.run.bundles) < self.config.stability.bundles:
                self._write(row)
        except Exception as error:  # nothing that is only told may end a run
            if not self._warned:
                why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                log.warning("incidents leave no bundle under %s, the run goes on: %s", self.run.bundles.path, why)
            self._warned = True

    def _write(self, row: Row) -> None:
        first, last, iteration = row["first"], row["last"], row["iteration"]
        rows = self.run.metrics.tail(ROWS + min(max(iteration - first, 0), FURTHER_ROWS))
        iterations = range(max(first, 1), min(last, first + BATCHES - 1) + 1)
        batches = {str(i): self.sampler.indices(*divmod(i - 1, len(self.sampler))) for i in iterations}
        with self.run.bundles.writing(first, row["name"]) as bundle:
            before = self._write_state(bundle, first)
            bundle.write_rows(rows)
            bundle.write_config(self.config.to_yaml())
            write_csv(bundle.layers, sizes(self.model, self.optimizer), iteration, self.measured)
            told = {"batches": batches, "before": before, "sampler": self.sampler.state_dict()}
            bundle.write_incident({**row, **told, "epoch_length": self.trainer.state.epoch_length, **self._made_on()})

    def _made_on(self) -> dict[str, Any]:
        """What decides whether numbers come out the same bit for bit."""
        device = self.precision.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        machine = {"device": name, "host": socket.gethostname(), "threads": torch.get_num_threads()}
        versions = {"torch": torch.__version__, "world_size": distributed.world_size(), "amp": self.precision.amp}
        return {"made_on": {**machine, **versions}}

    # ---------------------------------------------------------------------------------------- the state from before

    def _write_state(self, bundle: Bundle, first: int) -> dict[str, Any] | None:
        """Write before.pt, if there is anything to write; says of which iteration it is and what it was."""
        for iteration, source in self._states(first):
            if isinstance(source, Path):
                try:
                    checkpoint_file.link(source, bundle.state)
                except FileNotFoundError:  # gone since, for a newer one
                    continue
                return {"iteration": iteration, "from": "checkpoint"}
            checkpoint_file.save(bundle.state, self._payload(iteration, source))
            return {"iteration": iteration, "from": "snapshot"}
        return {"iteration": 0, "from": "beginning"} if self._since(first) <= 0 else None

    def _states(self, first: int) -> list[tuple[int, Path | Payload]]:
        """The states that lead to ``first``, the best one first.

        The newest would do. One from some iterations earlier is better: the step that spoilt the weights is then among
        those that are run again.
        """
        found: list[tuple[int, Path | Payload]] = list(self._checkpoints(first))
        found += self.recovery.leading_to(first) if self.recovery is not None else []
        found.sort(key=lambda state: state[0], reverse=True)  # of one iteration the file: it is written already
        return sorted(found, key=lambda state: not first - FAR <= state[0] < first - LEAD)

    def _since(self, first: int) -> int:
        """No state from before this iteration leads to ``first``: the run was given another one then."""
        returns = self.recovery.returns if self.recovery is not None else []
        return max((done.iteration + 1 for done in returns if done.iteration < first), default=0)

    def _checkpoints(self, first: int) -> Iterator[tuple[int, Path]]:
        """The files from before ``first`` that lead there, the newest first."""
        folder, found = self.run.checkpoints, {}
        for path in [*folder.glob("best*.pt"), *checkpoint_file.numbered(folder)]:
            number = checkpoint_file.iteration_of(path)
            try:
                found[checkpoint_file.peek(path)["iteration"] if number is None else number] = path
            except (BadCheckpoint, KeyError):
                continue
        # One of best weights may have been saved within a group of accumulated batches, where nothing can go on.
        accumulate, length = self.config.trainer.accumulate, self.trainer.state.epoch_length or 1
        for iteration in sorted(found, reverse=True):
            if self._since(first) <= iteration < first and iteration % length % accumulate == 0:
                yield iteration, found[iteration]

    def _payload(self, iteration: int, states: Payload) -> Payload:
        length = self.trainer.state.epoch_length
        told = {"iteration": iteration, "epoch": iteration // length if length else 0, "epoch_length": length}
        scored = {"score": None, "metric": None, "mode": None}
        return {"version": checkpoint_file.VERSION, **told, **scored, "not_finite": self._not_finite, **states}

"""What a run saw and became at every iteration, as a row of digests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ignite.engine import Engine, Events

from ignition.data import BatchSampler, SampleKey
from ignition.exact_resume.digest import of_batch, of_generators, of_model, of_optimizer

if TYPE_CHECKING:
    from ignition.training import Training


class Notebook:
    """Writes a row for every iteration of a training: its samples, batch, and all that it left behind, as digests.

    Args:
        path: a new file of JSON lines; each is there when its iteration is over, whatever ends the process then.
    """

    def __init__(self, path: str | Path):
        self._file = open(path, "w", buffering=1)  # noqa: SIM115 (for as long as the process lives)
        self._row: dict[str, Any] | None = None

    def attach(self, training: Training) -> None:
        """Note the iterations of ``training``, after the handlers that are attached already."""
        self._training = training
        self._asked = _Asked.of(training.data.sampler)
        training.trainer.add_event_handler(Events.ITERATION_STARTED, self._begin)
        training.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end)

    def _begin(self, engine: Engine) -> None:
        state = engine.state
        number = (state.iteration - 1) % len(self._asked)
        samples = [key.index for key in self._asked.batches[number]]
        self._row = {"iteration": state.iteration, "epoch": state.epoch, "samples": samples}
        self._row["batch"] = of_batch(state.batch)

    def see(self, batch: Any) -> None:
        """The batch as the losses get it; what evaluations get is passed over."""
        if self._row is not None:
            self._row["augmented"] = of_batch(batch)

    def _end(self, engine: Engine) -> None:
        training = self._training
        row, self._row = self._row or {}, None
        row["weights"] = of_model(training.model)
        row["optimizer"] = of_optimizer(training.optimizer, training.model)
        row["average"] = of_model(training.ema.module) if training.ema is not None else {}
        row["generators"] = of_generators()
        self.write(row)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """No more rows come."""
        self._file.close()


class _Asked(BatchSampler):
    """Remembers the batches of this pass by their numbers, as often as loaders ask for them."""

    batches: dict[int, list[SampleKey]]

    @classmethod
    def of(cls, sampler: BatchSampler) -> _Asked:
        """``sampler`` itself, which is held in several places, as one of these."""
        sampler.__class__, asked = cls, cast(_Asked, sampler)
        asked.batches = {}
        return asked

    def __iter__(self) -> Iterator[list[SampleKey]]:
        self.batches = {}
        for number, batch in enumerate(super().__iter__(), self.start):
            self.batches[number] = batch
            yield batch

"""What a run measured, as rows that go to any number of writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

from ignition import distributed

Row = dict[str, Any]
Writer = Callable[[Row], None]


class _Pending(NamedTuple):
    """One iteration whose values are still on the device."""

    iteration: int
    epoch: int
    learning_rate: float
    samples: int
    names: tuple[str, ...]
    values: tuple[torch.Tensor, ...]


class MetricsLog:
    """Writes a row for every training iteration, every epoch and every evaluation.

    A row is a dict with ``iteration``, ``epoch`` and named numbers: ``train/batch_loss``, ``train/epoch``,
    ``train/learning_rate``, ``train/gradient_norm`` and ``train/loss/<term>`` for an iteration;
    ``train/epoch_avg_loss`` and ``learning_rate`` for an epoch; ``<tag>/<metric>`` for an evaluation.

    The values of ``every`` iterations stay on the device and come down together, so that an iteration never waits.
    Over many processes losses are means over all samples of the batch; rows are written by process 0 alone.

    Args:
        writers: callables that take a row, for instance ``RunFolder.write_metrics`` and a `TensorBoard`.
        every: iterations between two readings of the device.
    """

    def __init__(self, *writers: Writer, every: int = 50):
        if every < 1:
            raise ValueError(f"every is {every}; it counts iterations, so it must be at least 1")
        self.writers, self.every = list(writers), every
        self._pending: list[_Pending] = []
        self._loss_sum, self._samples = 0.0, 0.0
        self._optimizer: Optimizer | None = None
        self.last: Row = {}

    def attach(self, trainer: Engine, optimizer: Optimizer) -> None:
        """Follow ``trainer``; its output is a loss tensor or has ``loss``, ``terms`` and ``samples``."""
        self._optimizer = optimizer
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.end_epoch)
        for end in (Events.COMPLETED, Events.TERMINATE):
            trainer.add_event_handler(end, self.flush)

    def attach_evaluation(self, evaluator: Engine, trainer: Engine, *, tag: str = "val") -> None:
        """Write ``evaluator``'s metrics as ``<tag>/<metric>`` whenever it completes, at ``trainer``'s iteration."""
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: self.write_evaluation(engine, trainer, tag))

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        output = state.output
        loss = getattr(output, "loss", output)
        terms: Mapping[str, torch.Tensor] = getattr(output, "terms", {})
        names, values = ["train/batch_loss", *(f"train/loss/{name}" for name in terms)], [loss, *terms.values()]
        norm = getattr(state, "gradient_norm", None)
        if norm is not None and not getattr(state, "group_open", False):
            names.append("train/gradient_norm")
            values.append(norm)
        learning_rate = self._optimizer.param_groups[0]["lr"] if self._optimizer is not None else math.nan
        samples = getattr(output, "samples", 1)
        self._pending.append(
            _Pending(state.iteration, state.epoch, float(learning_rate), samples, tuple(names), tuple(values))
        )
        if len(self._pending) >= self.every:
            self.flush()

    def flush(self, engine: Engine | None = None) -> None:
        """Bring down what is on the device and write it."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        values = _read([value for row in pending for value in row.values])
        numbers, offset = [], 0
        for row in pending:
            part = values[offset : offset + len(row.values)]
            numbers += [value * row.samples for value in part] + [float(row.samples)]
            offset += len(row.values)
        numbers, offset = distributed.totals(numbers), 0
        for row in pending:
            samples = numbers[offset + len(row.values)]
            means = [number / max(samples, 1.0) for number in numbers[offset : offset + len(row.values)]]
            offset += len(row.values) + 1
            self._loss_sum, self._samples = self._loss_sum + means[0] * samples, self._samples + samples
            fixed = {"train/epoch": row.epoch, "train/learning_rate": row.learning_rate}
            self.write({"iteration": row.iteration, "epoch": row.epoch, **fixed, **dict(zip(row.names, means))})

    def end_epoch(self, engine: Engine) -> None:
        """Write the epoch's mean loss."""
        self.flush()
        average = self._loss_sum / self._samples if self._samples else math.nan
        self._loss_sum = self._samples = 0.0
        row: Row = {"iteration": engine.state.iteration, "epoch": engine.state.epoch, "train/epoch_avg_loss": average}
        if self._optimizer is not None:
            row["learning_rate"] = float(self._optimizer.param_groups[0]["lr"])
        self.write(row)

    def write_evaluation(self, evaluator: Engine, trainer: Engine, tag: str) -> None:
        """Write the metrics of an evaluation that is done."""
        self.flush()
        numbers = {
            f"{tag}/{name}": float(value) for name, value in evaluator.state.metrics.items() if _is_number(value)
        }
        self.write({"iteration": trainer.state.iteration, "epoch": trainer.state.epoch, **numbers})

    def write(self, row: Row) -> None:
        """Hand a row to every writer (process 0 only)."""
        self.last.update(row)
        if distributed.rank() == 0:
            for writer in self.writers:
                writer(row)

    def state_dict(self) -> dict[str, float]:
        """The running epoch's sums. Writes what is pending first, so that no checkpoint is ahead of its log."""
        self.flush()
        return {"loss_sum": self._loss_sum, "samples": self._samples}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on with the sums of an epoch that was interrupted."""
        self._loss_sum, self._samples = state["loss_sum"], state["samples"]


def _read(values: list[Any]) -> list[float]:
    """All values in one reading of the device."""
    if all(isinstance(value, torch.Tensor) for value in values):
        return torch.stack([value.detach().float().reshape(()) for value in values]).tolist()
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.numel() == 1)

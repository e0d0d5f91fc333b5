"""What a run measured, as rows that go to any number of writers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

from ignition import distributed
from ignition.events import StepEvents, watch

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Writer = Callable[[Row], None]
Source = Callable[[Engine], Mapping[str, Any]]


class _Pending(NamedTuple):
    """One iteration, some of whose numbers may still be on the device; or a row of somebody else that waits for it."""

    row: Row
    losses: tuple[str, ...]  # the entries that are means over the batch's samples; none in somebody else's row
    samples: int


class MetricsLog:
    """Writes a row for every training iteration, every epoch and every evaluation.

    A row is a dict with ``iteration``, ``epoch`` and named numbers, not finite ones as they are:

    - iteration: ``train/batch_loss``, ``train/epoch``, ``train/learning_rate`` (that its step is taken with),
      ``train/loss/<term>``; where a step was due ``train/gradient_norm`` and what ``sources`` give. A further parameter
      group's rate is ``train/learning_rate/<its name or number>``, once it has been another one than the first's.
    - epoch: ``train/epoch_avg_loss``, over samples, and ``learning_rate`` as the schedule leaves it.
    - evaluation: ``<tag>/<metric>`` of each metric that is one number.

    All on the trainer's iterations, in their order. Values on a device stay there for ``every`` iterations and come
    down together, so that an iteration never waits. Over many processes losses are means over all samples of the
    batch, the other numbers are process 0's, and it alone writes.

    A writer that fails with an ``OSError`` (disk, network) is told once through ``logging``, loses that row alone, and
    is handed the next one. Any other error is a mistake, and raised when all writers have got all rows.

    Args:
        writers: callables that take a row, for instance ``RunFolder.write_metrics`` and a `TensorBoard`.
        every: iterations between two readings of the device. One whose step was left out is read at once.
        sources: each ``source(engine)`` gives further numbers by name, floats or tensors of one element. Asked on every
            process at the end of each iteration in which a step was due.

    >>> rows = []
    >>> trainer = Engine(lambda engine, batch: {"loss": batch / 2})
    >>> MetricsLog(rows.append, sources=[lambda engine: {"speed": 3.0}]).attach(trainer)
    >>> _ = trainer.run([1.0])
    >>> rows[0]
    {'iteration': 1, 'epoch': 1, 'train/epoch': 1, 'train/batch_loss': 0.5, 'speed': 3.0}
    """

    def __init__(self, *writers: Writer, every: int = 50, sources: Sequence[Source] = ()):
        if every < 1:
            raise ValueError(f"every is {every}; it counts iterations, so it must be at least 1")
        self.writers, self.every, self.sources = list(writers), every, list(sources)
        self.last: Row = {}
        self._pending: list[_Pending] = []
        self._iterations = 0  # of those; the same on all processes
        self._loss_sum, self._samples = 0.0, 0.0
        self._optimizer: Optimizer | None = None
        self._output_transform: Callable[[Any], Any] | None = None
        self._told: list[Writer] = []
        self._follows_steps = self._step_due = False
        self._rates: dict[str, Any] = {}  # of the iteration's step
        self._own_rates: set[int] = set()  # further parameter groups that had a rate of their own

    def attach(
        self,
        trainer: Engine,
        optimizer: Optimizer | None = None,
        *,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        """Follow ``trainer``, and the rates of ``optimizer`` if there is one.

        What ``trainer`` gives, or ``output_transform`` makes of it, is the loss (a number or a tensor of one element),
        or holds it as ``loss``, as a key or an attribute. So may be ``terms``, named further losses, and ``samples``,
        how many the batch had; 1 if it is not said.
        """
        self._optimizer, self._output_transform = optimizer, output_transform
        if optimizer is not None:
            watch(trainer, optimizer)
        self._follows_steps = trainer.has_registered_events(StepEvents.GRADIENTS_READY)
        if self._follows_steps:
            trainer.add_event_handler(StepEvents.GRADIENTS_READY, self._before_step)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.end_epoch)
        for end in (Events.COMPLETED, Events.TERMINATE):
            trainer.add_event_handler(end, self.flush)

    def attach_evaluation(self, evaluator: Engine, trainer: Engine, *, tag: str = "val") -> None:
        """Write ``evaluator``'s metrics as ``<tag>/<metric>`` whenever it completes, at ``trainer``'s iteration."""
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: self.write_evaluation(engine, trainer, tag))

    def _before_step(self, engine: Engine) -> None:
        """The rates that the coming step is taken with: once it is taken, the schedule goes on."""
        self._step_due, self._rates = True, self._read_rates()

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        output = state.output if self._output_transform is None else self._output_transform(state.output)
        loss, terms, samples = _parts(output)
        row: Row = {"iteration": state.iteration, "epoch": state.epoch, "train/epoch": state.epoch}
        row.update(self._rates or self._read_rates())
        losses = {"train/batch_loss": loss}
        for name, value in terms.items():
            losses[f"train/loss/{name}"] = value
        for name, value in losses.items():
            row[name] = _settled(name, value)
        if self._step_due or not (self._follows_steps or getattr(state, "group_open", False)):
            norm = getattr(state, "gradient_norm", None)
            if norm is not None:
                row["train/gradient_norm"] = _settled("engine.state.gradient_norm", norm)
            for source in self.sources:
                self._ask(source, engine, row)
        left_out = self._step_due and state.skip_step  # to know that, somebody has waited for the device already
        self._step_due, self._rates = False, {}
        self._pending.append(_Pending(row, tuple(losses), samples))
        self._iterations += 1
        if self._iterations >= self.every or left_out:
            self.flush()

    def _ask(self, source: Source, engine: Engine, row: Row) -> None:
        for name, value in source(engine).items():
            if name in row:
                raise ValueError(f"a source of the log gives {name!r}, which the row has already; name it otherwise")
            row[name] = _settled(name, value, copy=True)

    def _read_rates(self) -> dict[str, Any]:
        if self._optimizer is None:
            return {}
        first, *further = self._optimizer.param_groups
        rates = {"train/learning_rate": _settled("lr", first["lr"], copy=True)}
        for number, group in enumerate(further, start=1):
            rate = _settled("lr", group["lr"], copy=True)
            # One on a device cannot be compared without waiting for it.
            if isinstance(rate, torch.Tensor) or rate != rates["train/learning_rate"]:
                self._own_rates.add(number)
            if number in self._own_rates:
                rates[f"train/learning_rate/{group.get('name', number)}"] = rate
        return rates

    # ------------------------------------------------------------------------------------------------ rows out

    def flush(self, engine: Engine | None = None) -> None:
        """Bring down what is on the device and write it. With many processes, all of them call it."""
        self._write_pending(together=distributed.world_size() > 1)

    def close(self) -> None:
        """Write what is pending without asking other processes, which may be gone: for the end of a failed run."""
        self._write_pending(together=False)

    def _write_pending(self, *, together: bool) -> None:
        pending, self._pending, self._iterations = self._pending, [], 0
        if not pending:
            return
        _bring_down([entry.row for entry in pending])
        iterations = [entry for entry in pending if entry.losses]
        samples = _mean_over_processes(iterations) if together else [float(entry.samples) for entry in iterations]
        for entry, count in zip(iterations, samples, strict=True):
            self._loss_sum += entry.row["train/batch_loss"] * count if count else 0.0
            self._samples += count
        self._hand_out([entry.row for entry in pending])

    def end_epoch(self, engine: Engine) -> None:
        """Write the epoch's mean loss."""
        self.flush()
        average = self._loss_sum / self._samples if self._samples else math.nan
        self._loss_sum = self._samples = 0.0
        row: Row = {"iteration": engine.state.iteration, "epoch": engine.state.epoch, "train/epoch_avg_loss": average}
        if self._optimizer is not None:
            row["learning_rate"] = float(self._optimizer.param_groups[0]["lr"])
        self._hand_out([row])

    def write_evaluation(self, evaluator: Engine, trainer: Engine, tag: str) -> None:
        """Write the metrics of an evaluation that is done."""
        self.flush()
        metrics = evaluator.state.metrics.items()
        numbers = {f"{tag}/{name}": float(value) for name, value in metrics if _is_number(value)}
        self._hand_out([{"iteration": trainer.state.iteration, "epoch": trainer.state.epoch, **numbers}])

    def write(self, row: Row) -> None:
        """Hand a row to every writer, after those that are pending. Process 0 may call it alone."""
        if self._pending:
            self._pending.append(_Pending(row, (), 0))
        else:
            self._hand_out([row])

    def _hand_out(self, rows: list[Row]) -> None:
        mistake: Exception | None = None
        for row in rows:
            self.last.update(row)
            for writer in self.writers if distributed.rank() == 0 else ():
                try:
                    writer(row)
                except OSError as error:
                    if not any(writer is told for told in self._told):
                        self._told.append(writer)
                        logger.warning("rows are lost to %s, the run goes on: %s", _name(writer), error)
                except Exception as error:
                    mistake = mistake or error
        if mistake is not None:
            raise mistake

    def state_dict(self) -> dict[str, Any]:
        """The running epoch's sums. Writes what is pending first, so that no checkpoint is ahead of its log."""
        self.flush()
        return {"loss_sum": self._loss_sum, "samples": self._samples, "own_rates": sorted(self._own_rates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the sums of an epoch that was interrupted."""
        self.flush()
        self._loss_sum, self._samples = state["loss_sum"], state["samples"]
        self._own_rates = set(state["own_rates"])


def _parts(output: Any) -> tuple[Any, Mapping[str, Any], int]:
    """Loss, further terms and number of samples in what an iteration gave."""
    if isinstance(output, (float, int, torch.Tensor)):
        return output, {}, 1
    if isinstance(output, Mapping) and "loss" in output:
        return output["loss"], output.get("terms", {}), output.get("samples", 1)
    if hasattr(output, "loss"):
        return output.loss, getattr(output, "terms", {}), getattr(output, "samples", 1)
    if isinstance(output, Real):  # of numpy
        return output, {}, 1
    raise ValueError(
        f"an iteration gave {_described(output)}, in which the log finds no loss; say where it is, for instance "
        "attach(trainer, optimizer, output_transform=lambda output: output[-1])"
    )


def _settled(name: str, value: Any, *, copy: bool = False) -> Any:
    """``value`` as a number if that needs no waiting; else the tensor, with ``copy`` as it is at this moment."""
    if type(value) is float:
        return value
    if not isinstance(value, torch.Tensor):
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} is {_described(value)}; a number is needed") from None
    if value.numel() != 1:
        raise ValueError(f"{name} has shape {list(value.shape)}; a tensor with one element is needed")
    if value.is_cpu:
        return value.item()
    return value.detach().clone() if copy else value.detach()


def _bring_down(rows: list[Row]) -> None:
    """Put numbers in the place of tensors, with one reading for each device and dtype."""
    groups: dict[Any, list[tuple[Row, str]]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, torch.Tensor):
                groups.setdefault((value.device, value.dtype), []).append((row, name))
    for places in groups.values():
        numbers = torch.stack([row[name].reshape(()) for row, name in places]).tolist()
        for (row, name), number in zip(places, numbers, strict=True):
            row[name] = number


def _mean_over_processes(pending: list[_Pending]) -> list[float]:
    """Make each loss the mean over the samples of all processes, in one message; how many samples those were."""
    sums: list[float] = []
    for row, losses, samples in pending:
        # A process without samples has no loss, and what it calls one, NaN perhaps, must not count.
        sums += [row[name] * samples if samples else 0.0 for name in losses]
        sums.append(float(samples))
    numbers = iter(distributed.totals(sums))
    counts = []
    for row, losses, _ in pending:
        values = [next(numbers) for _ in losses]
        counts.append(next(numbers))
        row.update({name: value / counts[-1] if counts[-1] else math.nan for name, value in zip(losses, values)})
    return counts


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def _described(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (tuple, list, dict)) else repr(value)


def _name(writer: Writer) -> str:
    return getattr(writer, "__qualname__", type(writer).__name__)

"""Saves a run's whole state while it trains, keeps the newest and the best, and brings a run back."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.engine.events import CallableEventWithFilter, EventsList
from torch import nn

from ignition import checkpoint_file, distributed
from ignition.checkpoint_file import BadCheckpoint, NotFinite, Payload
from ignition.handlers.improvement import Mode, better, check_mode, read_score
from ignition.rundir import BEST_CHECKPOINT, LAST_CHECKPOINT, checkpoint_name

log = logging.getLogger(__name__)

_OWN_KEYS = ("version", "iteration", "epoch", "epoch_length", "score", "metric", "mode", "not_finite")
_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_COMPILED = "_orig_mod."


class SavingFailed(RuntimeError):
    """Several saves in a row failed: going on would be training for nothing."""


class Checkpoint:
    """Writes ``iteration-NNNNNNNN.pt`` into ``folder``; ``last.pt`` and ``best.pt`` name the newest and the best one.

    Files are whole or absent whatever happens meanwhile, and an old one goes only when a new one is safe. A save that
    fails, on a full disk for instance, is told as an error and the run goes on; ``max_failures`` in a row end it.
    A model that is not finite is never saved. While a group of accumulated batches is open, a save waits for its end.

    Process 0 writes; all processes must reach a save together, since a ``state_dict`` may ask all of them.

    Args:
        folder: where the files are written; made if need be.
        objects: what is saved, by name: anything with ``state_dict`` and ``load_state_dict``. Modules are saved under
            their plain names, however they are wrapped or compiled.
        keep: how many of the newest are kept, at least 2, since the newest may be damaged by what ends the run.
        metric: the one that chooses the best, as in ``evaluator.state.metrics``.
        mode: ``min`` where lower is better, ``max`` where higher is.
        every_minutes: saves as well when so much time has passed since the last one.
        max_failures: this many failed saves in a row raise `SavingFailed`.

    Attributes:
        best: the score of ``best.pt``; None where there is none.
        last_path: the newest file written or restored.
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        *,
        keep: int = 2,
        metric: str | None = None,
        mode: Mode = "min",
        every_minutes: float | None = None,
        max_failures: int = 3,
    ):
        if keep < 2:
            raise ValueError(f"keep is {keep}; it must be at least 2, since the newest may be damaged")
        taken = [name for name in objects if name in _OWN_KEYS]
        if taken:
            raise ValueError(f"objects cannot be called {', '.join(taken)}: a checkpoint has this already")
        self.folder, self.objects, self.keep = Path(folder).expanduser().absolute(), dict(objects), keep
        self.metric, self.mode = metric, check_mode(mode)
        self.every_minutes, self.max_failures = every_minutes, max_failures
        self.best: float | None = None
        self.last_path: Path | None = None
        self._written: int | None = None  # the iteration of the newest file
        self._scored: tuple[int, float] | None = None  # an iteration and its score
        self._waiting = False  # for the open group to close
        self._failures = 0
        self._ours = False  # the files that are there are of this run
        self._saved_at = time.monotonic()
        self._trainers: list[Engine] = []
        self._not_finite = _infinite_buffers(self.objects)

    # ------------------------------------------------------------------------------------------------- saving

    def attach(
        self,
        trainer: Engine,
        event: Events | CallableEventWithFilter | EventsList = Events.EPOCH_COMPLETED,
    ) -> None:
        """Save at ``event``; may be called for several events. An iteration is saved once, by the first that asks."""
        self._follow(trainer)
        trainer.add_event_handler(event, self)

    def attach_best(self, evaluator: Engine, trainer: Engine) -> None:
        """Save whenever ``evaluator`` completes with a better metric than ever; ``trainer`` tells the iteration.

        Attach it after the handlers that change with an evaluation and are saved, such as early stopping.
        """
        if self.metric is None:
            raise ValueError("Checkpoint(metric=...) says which metric chooses the best")
        metric = self.metric
        self._follow(trainer)
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: self.offer(trainer, read_score(engine, metric)))

    def __call__(self, trainer: Engine) -> None:
        """Save, unless this iteration is saved already; in an open group, at its end."""
        self._waiting = _group_open(trainer)
        if not self._waiting and self._written != trainer.state.iteration:
            self.save(trainer)

    def offer(self, trainer: Engine, score: float) -> None:
        """Save as the best if ``score``, of the weights as they are, is better than that of the best so far."""
        self._scored = (trainer.state.iteration, score)
        if not better(score, self.best, self.mode):
            return
        if _group_open(trainer):
            # Weights change when the group closes; these are the ones that were measured.
            self._report(trainer, self._write_measured(self._payload(trainer)))
        else:
            self.save(trainer)

    def save(self, trainer: Engine) -> bool:
        """Save now. False if that failed; the reason is logged.

        Raises:
            SavingFailed: so did several before it.
            FileExistsError: the folder holds checkpoints of another run.
        """
        return self._report(trainer, self._write(self._payload(trainer)))

    def _follow(self, trainer: Engine) -> None:
        if trainer not in self._trainers:
            self._trainers.append(trainer)
            trainer.add_event_handler(Events.STARTED, lambda engine: self._check_folder())
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._catch_up)

    def _catch_up(self, trainer: Engine) -> None:
        """Save what had to wait for the end of a group, or what time asks for."""
        due = self._waiting
        if self.every_minutes is not None:
            late = time.monotonic() - self._saved_at > 60 * self.every_minutes
            due = bool(distributed.agree(int(due or late)))
        if due and not _group_open(trainer):
            self(trainer)

    def _payload(self, trainer: Engine) -> Payload:
        """All there is to save. On every process: a state may be gathered from all of them."""
        state = trainer.state
        scored = self._scored is not None and self._scored[0] == state.iteration
        return {
            "version": checkpoint_file.VERSION,
            "iteration": state.iteration,
            "epoch": state.epoch,
            "epoch_length": state.epoch_length,
            "score": self._scored[1] if scored and self._scored else None,
            "metric": self.metric,
            "mode": self.mode,
            "not_finite": self._not_finite,
            **{name: _state_of(thing) for name, thing in self.objects.items()},
        }

    def _write(self, payload: Payload) -> str | None:
        """The files of an iteration, in the order in which a kill does no harm. What went wrong, or None."""
        self._check_folder()

        def write() -> None:
            path = self.folder / checkpoint_name(payload["iteration"])
            checkpoint_file.save(path, payload)
            self.last_path, self._written = path, payload["iteration"]
            checkpoint_file.link(path, LAST_CHECKPOINT)
            if self._is_best(payload):
                checkpoint_file.link(path, BEST_CHECKPOINT)
            self._prune()

        return self._on_first(write, payload)

    def _write_measured(self, payload: Payload) -> str | None:
        """``best.pt`` alone, of weights in the middle of a group: to be looked at, not to go on from."""
        self._check_folder()
        return self._on_first(lambda: checkpoint_file.save(self.folder / BEST_CHECKPOINT, payload), payload)

    def _on_first(self, write: Any, payload: Payload) -> str | None:
        """Let process 0 write; what went wrong, or None, as all processes are told. Takes note of what was written."""
        problem, error = None, None
        if distributed.rank() == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                checkpoint_file.check_finite(payload, self._modules())
                write()
            except (OSError, NotFinite) as reason:
                problem = (type(reason).__name__ if not isinstance(reason, OSError) else "OSError", str(reason))
            except Exception as reason:
                problem, error = ("fatal", f"{type(reason).__name__}: {reason}"), reason
        problem, self.last_path, self._written = distributed.from_first((problem, self.last_path, self._written))
        if error is not None:
            raise error
        if problem is None:
            if self._is_best(payload):
                self.best = payload["score"]
            self._failures, self._saved_at = 0, time.monotonic()
            return None
        kind, text = problem
        if kind == "fatal":
            raise RuntimeError(f"process 0 could not save: {text}")
        self._failures += kind == "OSError"
        return f"the model {text}" if kind == "NotFinite" else text

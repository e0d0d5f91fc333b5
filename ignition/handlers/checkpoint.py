"""Saves a run's whole state while it trains, keeps the newest and the best, and brings a run back."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.engine.events import EventsList
from torch import nn

from ignition import checkpoint_file, distributed
from ignition.checkpoint_file import KeptFiles, Payload, Save, Saving, SavingFailed
from ignition.handlers.consensus import Consensus
from ignition.handlers.improvement import Mode, better, check_mode, read_score

__all__ = ["Checkpoint", "SavingFailed"]

log = logging.getLogger(__name__)

ENDS = (Events.COMPLETED, Events.TERMINATE, Events.INTERRUPT)


class Checkpoint:
    """Writes ``iteration-NNNNNNNN.pt`` into a folder; ``last.pt`` and ``best.pt`` name the newest and the best one.

    A file is whole or absent whatever happens meanwhile, and an old one goes only when a new one is safe. A save that
    fails, on a full disk for instance, is told as an error and the run goes on; several in a row end it. A model that
    is not finite is never saved. While a group of accumulated batches is open, a save waits for its end.

    Process 0 writes. All processes must come to a save together, since a state may be gathered from all of them.

    Args:
        folder: where the files are written; made if need be.
        objects: what is saved, by name: anything with ``state_dict`` and ``load_state_dict``. Modules are saved under
            their plain names, however they are wrapped or compiled.
        keep: how many of the newest are kept, at least 2: the newest may be damaged by what ends the run.
        keep_best: how many of the best are kept besides: ``best.pt``, ``best-2.pt`` and so on.
        metric: the one that chooses the best, as in ``evaluator.state.metrics``.
        mode: ``min`` where lower is better, ``max`` where higher is.
        every_minutes: save as well when so much time has passed since the last save.
        asynchronous: copy the state to host memory, which takes as much of it again, and write it in a thread while the
            loop goes on. One write is under way at a time: the next save waits for it. What came of it is told by the
            next save, the next score, the end of the run, or `wait`; an error is logged at once.
        safetensors: write the weights also as ``last.safetensors`` and ``best.safetensors``, for other programs: under
            their plain names those of the only module or of the one named here, else as ``<object>.<name>``.
        optional: names of objects that may be missing on either side at a restore: handlers that can be switched on and
            off between two starts. One that is new keeps its fresh state.
        max_failures: saves that fail in this many iterations in a row raise `SavingFailed`.

    Attributes:
        best: the score of ``best.pt``; None where there is none.
        last_path: the newest file that was written or restored.

    >>> from tempfile import TemporaryDirectory
    >>> folder, model = TemporaryDirectory(), nn.Linear(1, 1)
    >>> trainer = Engine(lambda engine, batch: None)
    >>> checkpoint = Checkpoint(folder.name, {"model": model}, keep=2)
    >>> checkpoint.attach(trainer, Events.EPOCH_COMPLETED(every=2) | Events.ITERATION_COMPLETED(every=500))
    >>> _ = trainer.run([0] * 10, max_epochs=4)
    >>> checkpoint.last_path.name, checkpoint.restore()["epoch"]
    ('iteration-00000040.pt', 4)
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        *,
        keep: int = 2,
        keep_best: int = 1,
        metric: str | None = None,
        mode: Mode = "min",
        every_minutes: float | None = None,
        asynchronous: bool = False,
        safetensors: bool | str = False,
        optional: Collection[str] = (),
        max_failures: int = 3,
    ):
        if keep < 2:
            raise ValueError(f"keep is {keep}; it must be at least 2, since the newest may be damaged")
        for name, count in (("keep_best", keep_best), ("max_failures", max_failures)):
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"every_minutes is {every_minutes}; it must be above 0, or None for not by the clock")
        checkpoint_file.check_names(objects)
        self.folder, self.objects = Path(folder).expanduser().absolute(), dict(objects)
        self.metric, self.mode, self.every_minutes = metric, check_mode(mode), every_minutes
        self.optional = frozenset(optional)
        modules = {name: thing for name, thing in self.objects.items() if isinstance(thing, nn.Module)}
        files = KeptFiles(
            self.folder,
            keep=keep,
            keep_best=keep_best,
            metric=metric,
            mode=mode,
            better=partial(better, mode=self.mode),
            modules=tuple(modules),
            weights=checkpoint_file.choose_weights(safetensors, modules),
        )
        self._asynchronous = asynchronous
        self._saving = Saving(files, asynchronous=asynchronous, max_failures=max_failures)
        self._not_finite = [
            f"{name}.{buffer}" for name in modules for buffer in checkpoint_file.infinite_buffers(modules[name])
        ]
        self._scored: tuple[int, float] | None = None  # an iteration, and the score that its weights got
        self._waiting = False
        self._tried_at = time.monotonic()
        self._saves_at_error = False
        self._between: int | None = None  # the iteration after which a batch is being fetched
        self._followed: list[Engine] = []

    @property
    def best(self) -> float | None:
        """The score of ``best.pt``; None where there is none."""
        return self._saving.ranking[0].score if self._saving.ranking else None

    @property
    def last_path(self) -> Path | None:
        """The newest file that was written or restored."""
        return self._saving.last_path

    # ------------------------------------------------------------------------------------------------ when to save

    def attach(self, trainer: Engine, event: Any = Events.EPOCH_COMPLETED) -> None:
        """Save at ``event``, filtered or not, or at several (``a | b``): an iteration is still written once.

        Attach it after the handlers whose state it saves. At ``EXCEPTION_RAISED`` it saves where a run can go on from,
        between two iterations of an epoch and with one process, and raises the error again.
        """
        self._follow(trainer)
        for one in event if isinstance(event, EventsList) else [event]:
            if one == Events.EXCEPTION_RAISED:
                self._saves_at_error = True
                self._listen_to_errors(trainer)
                trainer.add_event_handler(Events.GET_BATCH_STARTED, self._note_between)
            else:
                trainer.add_event_handler(one, self)

    def attach_best(self, evaluator: Engine, trainer: Engine) -> None:
        """Save when ``evaluator`` completes with a metric that is among the best; ``trainer`` tells the iteration.

        Attach it after the handlers on ``evaluator`` whose state it saves, such as early stopping.
        """
        if self.metric is None:
            raise ValueError("which metric chooses the best? Checkpoint(..., metric=...) says it")
        metric = self.metric
        self._follow(trainer)
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: self.offer(trainer, read_score(engine, metric)))

    def __call__(self, trainer: Engine) -> None:
        """Save, unless that was done and nothing was evaluated since; in an open group, at its end."""
        self._waiting = _group_open(trainer)
        if self._waiting:
            self._follow(trainer)
            Consensus.of(trainer).ask("save", "a save was due within a group of accumulated batches")
        elif not self._saving.is_known(Save(trainer.state.iteration, self._scored)):
            self.save(trainer)

    def offer(self, trainer: Engine, score: float | torch.Tensor) -> None:
        """Save if ``score``, that of the weights as they are, is among the best so far. All go by process 0's."""
        number = float(score.detach() if isinstance(score, torch.Tensor) else score)
        number = distributed.from_first(number)
        self.wait()
        self._scored = (trainer.state.iteration, number)
        if self._saving.files.is_among_best(number, trainer.state.iteration, self._saving.ranking):
            # The group's end changes the weights. best.pt has those that were measured; it is not there to go on from.
            self._write(trainer, measured_only=_group_open(trainer))

    def save(self, trainer: Engine) -> bool:
        """Save now. False if that failed, which is logged; an asynchronous one is only begun.

        Raises:
            SavingFailed: so did those before it.
            FileExistsError: the folder holds checkpoints of another run.
        """
        return self._write(trainer)

    def _follow(self, trainer: Engine) -> None:
        if trainer in self._followed:
            return
        self._followed.append(trainer)
        trainer.add_event_handler(Events.STARTED, lambda engine: self._saving.check_folder())
        consensus = Consensus.of(trainer)
        consensus.when("save", self)
        if self.every_minutes is not None:
            consensus.poll(self._ask_by_the_clock)
        trainer.add_event_handler(Events.COMPLETED, lambda engine: self(engine) if self._waiting else None)
        if self._asynchronous:
            for end in ENDS:
                trainer.add_event_handler(end, lambda engine: self.wait())
            self._listen_to_errors(trainer)

    def _ask_by_the_clock(self, trainer: Engine) -> tuple[Any, str] | None:
        minutes: Any = self.every_minutes
        late = time.monotonic() - self._tried_at > 60 * minutes
        return ("save", f"{minutes:g} minutes have passed since the last one") if late else None

    # ------------------------------------------------------------------------------------------------- errors

    def _listen_to_errors(self, trainer: Engine) -> None:
        if not trainer.has_event_handler(self._at_error, Events.EXCEPTION_RAISED):
            trainer.add_event_handler(Events.EXCEPTION_RAISED, self._at_error)

    def _note_between(self, trainer: Engine) -> None:
        self._between = trainer.state.iteration

    def _at_error(self, trainer: Engine, error: BaseException) -> None:
        """Finish what is under way; the other processes are not here, perhaps. Raise again, or ignite would go on."""
        try:
            if self._saves_at_error and self._can_go_on_from(trainer) and not isinstance(error, GeneratorExit):
                self(trainer)
            self._saving.finish()
        except Exception as failure:
            log.error("no checkpoint after an error: %s", failure)
        raise error

    def _can_go_on_from(self, trainer: Engine) -> bool:
        """Whether an error came between two iterations: elsewhere something is half done and would not come again."""
        state = trainer.state
        epoch_ends = state.epoch_length and state.iteration % state.epoch_length == 0
        whole = self._between == state.iteration and not epoch_ends and not _group_open(trainer)
        return whole and distributed.world_size() == 1

    # ------------------------------------------------------------------------------------------- saving, restoring

    def _write(self, trainer: Engine, measured_only: bool = False) -> bool:
        self._saving.wait()
        self._saving.check_folder()
        state, scored = trainer.state, self._scored
        payload = checkpoint_file.states_of(  # on every process: a state may be gathered from all of them
            self.objects,
            iteration=state.iteration,
            epoch=state.epoch,
            epoch_length=state.epoch_length,
            score=scored[1] if scored and scored[0] == state.iteration else None,
            metric=self.metric,
            mode=self.mode,
            not_finite=self._not_finite,
        )
        self._tried_at = time.monotonic()
        done = self._saving.write(Save(state.iteration, scored, measured_only), payload)
        if trainer.last_event_name in (*ENDS, Events.EXCEPTION_RAISED):  # nobody would come to ask later
            done = self._saving.wait() and done
        return done

    def wait(self) -> bool:
        """Wait until nothing is being written. False if what was has failed, which is logged. For all processes.

        Raises:
            SavingFailed: so did those before it.
        """
        return self._saving.wait()

    def restore(self, map_location: str | torch.device = "cpu") -> Payload | None:
        """Load all objects from the newest good checkpoint; returns it whole, or None where there never was one.

        Process 0 reads, so that the folder need not be there for the others.

        Raises:
            BadCheckpoint: none can be used, or it does not fit the objects; says why.
        """
        found = self._saving.find()
        if found is None:
            return None
        payload = checkpoint_file.moved(found.payload, map_location)
        checkpoint_file.give_states(found.path, payload, self.objects, self.optional)
        ours = payload.get("metric") == self.metric and payload.get("mode") == self.mode
        score = payload.get("score") if ours else None
        self._scored = None if score is None else (payload["iteration"], score)
        self._saving.go_on_from(found, Save(payload["iteration"], self._scored))
        return payload


def _group_open(trainer: Engine) -> bool:
    return bool(getattr(trainer.state, "group_open", False))

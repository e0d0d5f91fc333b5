"""Saves a run's whole state while it trains, keeps the newest and the best, and brings a run back."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition import checkpoint_file, distributed
from ignition.checkpoint_file import BEST, LAST, BadCheckpoint, NotFinite, Payload
from ignition.handlers.improvement import Mode, better, check_mode, read_score

log = logging.getLogger(__name__)

T = TypeVar("T")
OWN_KEYS = ("version", "iteration", "epoch", "epoch_length", "score", "metric", "mode", "not_finite")


class SavingFailed(RuntimeError):
    """Several saves in a row failed: what is trained from here on would be lost."""


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
        metric: the one that chooses the best, as in ``evaluator.state.metrics``.
        mode: ``min`` where lower is better, ``max`` where higher is.
        every_minutes: save as well when so much time has passed since the last save.
        optional: names of objects that may be missing on either side at a restore: handlers that can be switched on and
            off between two starts. One that is new keeps its fresh state.
        max_failures: saves that fail in this many iterations in a row raise `SavingFailed`.

    Attributes:
        best: the score of ``best.pt``; None where there is none.
        last_path: the newest file that was written or restored.
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
        optional: Collection[str] = (),
        max_failures: int = 3,
    ):
        if keep < 2:
            raise ValueError(f"keep is {keep}; it must be at least 2, since the newest may be damaged")
        taken = [name for name in objects if name in OWN_KEYS]
        if taken:
            raise ValueError(f"no object can be called {', '.join(taken)}: a checkpoint has that already")
        self.folder, self.objects, self.keep = Path(folder).expanduser().absolute(), dict(objects), keep
        self.metric, self.mode = metric, check_mode(mode)
        self.every_minutes, self.optional, self.max_failures = every_minutes, frozenset(optional), max_failures
        self.best: float | None = None
        self.last_path: Path | None = None
        self._scored: tuple[int, float] | None = None  # an iteration, and the score that its weights got
        self._written: tuple[int, Any] | None = None  # the iteration of the newest file, and what was scored by then
        self._waiting = False
        self._failures = 0
        self._failed_at: int | None = None
        self._tried_at = time.monotonic()
        self._folder_is_ours = False
        self._followed: list[Engine] = []
        self._not_finite = [
            f"{name}.{buffer}" for name in self._modules() for buffer in checkpoint_file.infinite_buffers(objects[name])
        ]

    # ------------------------------------------------------------------------------------------------ when to save

    def attach(self, trainer: Engine, event: Any = Events.EPOCH_COMPLETED) -> None:
        """Save at ``event``, filtered or not. Attach it to several: an iteration is still written once.

        Attach it after the handlers whose state it saves.
        """
        self._follow(trainer)
        trainer.add_event_handler(event, self)

    def attach_best(self, evaluator: Engine, trainer: Engine) -> None:
        """Save when ``evaluator`` completes with a better metric than ever; ``trainer`` tells the iteration.

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
        if not self._waiting and self._written != (trainer.state.iteration, self._scored):
            self.save(trainer)

    def offer(self, trainer: Engine, score: float) -> None:
        """Save if ``score``, that of the weights as they are, is better than the best so far."""
        self._scored = (trainer.state.iteration, score)
        if not better(score, self.best, self.mode):
            return
        if _group_open(trainer):
            # The group's end changes the weights. best.pt has those that were measured; it is not there to go on from.
            self._write(self._payload(trainer), self._write_measured)
        else:
            self.save(trainer)

    def save(self, trainer: Engine) -> bool:
        """Save now. False if that failed, which is logged.

        Raises:
            SavingFailed: so did those before it.
            FileExistsError: the folder holds checkpoints of another run.
        """
        return self._write(self._payload(trainer), self._write_all)

    def _follow(self, trainer: Engine) -> None:
        if trainer in self._followed:
            return
        self._followed.append(trainer)
        trainer.add_event_handler(Events.STARTED, lambda engine: self._check_folder())
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._catch_up)
        trainer.add_event_handler(Events.COMPLETED, lambda engine: self(engine) if self._waiting else None)

    def _catch_up(self, trainer: Engine) -> None:
        """Save what waits for the end of a group, and what is due by the clock."""
        due = self._waiting
        if self.every_minutes is not None:
            late = time.monotonic() - self._tried_at > 60 * self.every_minutes
            due = bool(distributed.agree(int(due or late)))
        length = trainer.state.epoch_length
        # Not between an epoch's last batch and what is done at its end: a resumed run would leave that out.
        if due and not (length and trainer.state.iteration % length == 0):
            self(trainer)

    # ---------------------------------------------------------------------------------------------------- saving

    def _payload(self, trainer: Engine) -> Payload:
        """All that is saved. Made on every process: a state may be gathered from all of them."""
        state = trainer.state
        scored = self._scored if self._scored is not None and self._scored[0] == state.iteration else None
        return {
            "version": checkpoint_file.VERSION,
            "iteration": state.iteration,
            "epoch": state.epoch,
            "epoch_length": state.epoch_length,
            "score": scored[1] if scored else None,
            "metric": self.metric,
            "mode": self.mode,
            "not_finite": self._not_finite,
            **{name: checkpoint_file.state_of(thing) for name, thing in self.objects.items()},
        }

    def _write(self, payload: Payload, write: Callable[[Payload], None]) -> bool:
        """Let process 0 write. All learn what came of it, and say or raise the same."""
        self._check_folder()

        def attempt() -> tuple[str, bool]:
            try:
                checkpoint_file.check_finite(payload, self._modules())
                self.folder.mkdir(parents=True, exist_ok=True)
                write(payload)
            except NotFinite as error:
                return f"it {error}", False
            except OSError as error:
                return str(error) if error.filename else error.strerror or str(error), True
            return "", False

        problem, is_failure = _on_first(attempt)
        self.last_path, self._written = distributed.from_first((self.last_path, self._written))
        self._tried_at = time.monotonic()
        if not problem:
            if self._is_best(payload):
                self.best = payload["score"]
            self._failures, self._failed_at = 0, None
            return True
        if is_failure and self._failed_at != payload["iteration"]:
            self._failures, self._failed_at = self._failures + 1, payload["iteration"]
        good = f"the newest good one is {self.last_path.name}" if self.last_path else "there is no earlier one"
        what = f"no checkpoint of iteration {payload['iteration']}: {problem}; {good}"
        if self._failures >= self.max_failures:
            raise SavingFailed(f"{what}. {self._failures} saves in a row failed")
        log.error("%s. The run goes on%s", what, f", {self._failures} of {self.max_failures}" if is_failure else "")
        return False

    def _write_all(self, payload: Payload) -> None:
        """The files of an iteration, in the order in which a kill in between does no harm."""
        path = self.folder / checkpoint_file.name_of(payload["iteration"])
        checkpoint_file.save(path, payload)
        self.last_path = path
        checkpoint_file.link(path, LAST)
        if self._is_best(payload):
            checkpoint_file.link(path, BEST)
        self._written = (payload["iteration"], self._scored)
        self._prune(payload["iteration"])

    def _write_measured(self, payload: Payload) -> None:
        checkpoint_file.save(self.folder / BEST, payload)

    def _is_best(self, payload: Payload) -> bool:
        score = self._score_of(payload)
        return score is not None and better(score, self.best, self.mode)

    def _score_of(self, payload: Payload) -> float | None:
        """The score in a checkpoint, if it is of our metric."""
        same = payload.get("metric") == self.metric and payload.get("mode") == self.mode
        return payload.get("score") if same else None

    def _prune(self, iteration: int) -> None:
        older = [
            path
            for path in checkpoint_file.numbered(self.folder)
            if (checkpoint_file.iteration_of(path) or 0) <= iteration
        ]
        for path in older[: -self.keep]:
            try:
                path.unlink()
            except OSError as error:
                log.warning("an old checkpoint stays: %s", error)

    def _modules(self) -> list[str]:
        return [name for name, thing in self.objects.items() if isinstance(thing, nn.Module)]

    def _check_folder(self) -> None:
        """Once, before the first save: that nothing of another run is there, which would get mixed up with this one."""
        if self._folder_is_ours:
            return
        there = _on_first(lambda: sorted(file.name for file in self.folder.glob("*.pt")))
        if there:
            raise FileExistsError(
                f"{self.folder} holds checkpoints of another run ({', '.join(there)}): "
                "go on with it by restore(), or choose another folder"
            )
        self._claim_folder()

    def _claim_folder(self) -> None:
        self._folder_is_ours = True
        if distributed.rank() == 0:
            checkpoint_file.clean_litter(self.folder)

    # --------------------------------------------------------------------------------------------------- restoring

    def restore(self, map_location: str | torch.device = "cpu") -> Payload | None:
        """Load all objects from the newest good checkpoint; returns it whole, or None where there never was one.

        Process 0 reads, so that the folder need not be there for the others.

        Raises:
            BadCheckpoint: none can be used, or it does not fit the objects; says why.
        """
        found = _on_first(self._find)
        self._claim_folder()
        if found is None:
            return None
        path, payload, self.best = found
        payload = checkpoint_file.moved(payload, map_location)
        self._load(path, payload)
        self.last_path = path
        score, iteration = self._score_of(payload), payload["iteration"]
        self._scored = None if score is None else (iteration, score)
        self._written = (iteration, self._scored)
        return payload

    def _find(self) -> tuple[Path, Payload, float | None] | None:
        found = checkpoint_file.newest_good(self.folder, spare=(LAST, BEST))
        if found is None:
            return None
        path, payload, _ = found
        _relink(path, LAST)
        return path, payload, self._find_best(path, payload) if self.metric else None

    def _find_best(self, path: Path, payload: Payload) -> float | None:
        """The score of best.pt; let it name the checkpoint at ``path`` if a kill came before it could."""
        best_path, best = self.folder / BEST, None
        candidates = [(path, payload)]
        try:
            kept = payload if _is_same(best_path, path) else checkpoint_file.load(best_path)
            best = self._score_of(kept)
            if best is None:
                chosen = f"by {kept.get('metric')} ({kept.get('mode')})"
                log.warning("%s was chosen %s, from here on by %s (%s)", best_path, chosen, self.metric, self.mode)
        except BadCheckpoint as error:
            if best_path.exists():
                checkpoint_file.set_aside(error, "the best of the others takes its place")
            candidates += self._others(path)
        for candidate, content in candidates:
            score = self._score_of(content)
            if score is not None and better(score, best, self.mode):
                best = score
                _relink(candidate, BEST)
        return best

    def _others(self, path: Path) -> list[tuple[Path, Payload]]:
        found = []
        for other in checkpoint_file.numbered(self.folder):
            try:
                if other != path:
                    found.append((other, checkpoint_file.load(other)))
            except BadCheckpoint as error:
                checkpoint_file.set_aside(error, "it could not be compared with the best")
        return found

    def _load(self, path: Path, payload: Payload) -> None:
        """Give each object its state, after making sure that all of them fit."""
        here = [name for name in self.objects if name in payload or name not in self.optional]
        problems = [f"has no state of '{name}'" for name in here if name not in payload]
        problems += [
            f"has a state of '{name}', for which there is no object"
            for name in payload
            if name not in self.objects and name not in OWN_KEYS and name not in self.optional
        ]
        if not isinstance(payload.get("iteration"), int):
            problems.append("does not say its iteration")
        for name in self._modules() if not problems else []:
            problems += [
                f"does not fit '{name}': {why}" for why in checkpoint_file.misfits(self.objects[name], payload[name])
            ]
        if problems:
            raise BadCheckpoint(path, "; it ".join(problems))
        loaded: list[str] = []
        for name in here:
            try:
                checkpoint_file.give_state(self.objects[name], payload[name])
            except Exception as error:
                before = f"{', '.join(loaded)} had been loaded already: make new objects before going on"
                why = f"the state of '{name}' cannot be loaded: {error}" + (f" ({before})" if loaded else "")
                raise BadCheckpoint(path, why) from error
            loaded.append(name)


def _group_open(trainer: Engine) -> bool:
    return bool(getattr(trainer.state, "group_open", False))


def _on_first(action: Callable[[], T]) -> T:
    """What ``action`` gives on process 0, on every process; what it raises there is raised on all."""
    result, error, words = None, None, None
    if distributed.rank() == 0:
        try:
            result = action()
        except Exception as reason:
            error, words = reason, f"{type(reason).__name__}: {reason}"
    result, words = distributed.from_first((result, words))
    if error is not None:
        raise error
    if words is not None:
        raise RuntimeError(f"process 0 ended with {words}")
    return result  # type: ignore[return-value]


def _relink(path: Path, name: str) -> None:
    """Do what a kill may have come before; in a folder that can only be read, it has to do without."""
    try:
        if not _is_same(path.with_name(name), path):
            checkpoint_file.link(path, name)
    except OSError as error:
        log.warning("%s does not name %s: %s", path.with_name(name), path.name, error.strerror)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and os.path.samefile(one, other)

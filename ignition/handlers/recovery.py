"""Gives a run that went wrong the weights of an earlier iteration, and lets it go on past what led it there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from ignition import checkpoint_file, distributed
from ignition.checkpoint_file import HostCopy, NotFinite, Payload
from ignition.distributed.sharding import own_part, sharded_parts
from ignition.events import Diverged, StepEvents, watch
from ignition.handlers.consensus import Consensus

if TYPE_CHECKING:
    from ignition.handlers.learning_rate import LearningRate

log = logging.getLogger(__name__)

# Settings of a parameter group that schedules move. They stay as they are; all else in a group is the optimizer's own.
SCHEDULED = ("lr", "initial_lr", "momentum", "betas", "weight_decay")


class Return(NamedTuple):
    """In which iteration a run got the weights of which earlier one, why, and what its rate was multiplied by."""

    iteration: int
    snapshot: int
    reason: str
    factor: float


@dataclass(eq=False)
class _Snapshot:
    """The states after ``iteration``; ``measured`` is the first iteration that was (again) run with them.

    ``rate`` is the lowest learning rate of the step that led to them and those since, if one is to be cut.
    """

    iteration: int
    measured: int
    rate: float | None
    host: HostCopy
    states: Payload


class Recovery:
    """Keeps snapshots of weights in memory, and gives a run that went wrong those of an earlier iteration.

    The run goes on from where it stands: the iteration never goes back, what was logged stays, batches between are
    passed over by themselves, schedules go on, and the learning rate is cut: to ``cut`` times what it is, or to the
    lowest that it was since the snapshot where that is less, in case its rise was the fault (`expect_rise`). Moments,
    loss scale and average come back with the weights, gradients are dropped. After Chowdhery and others (PaLM, 2022),
    section 5.1: start again from before the spike and leave out the batches that led to it.

    A snapshot is taken as each run starts and every ``every`` optimizer steps, between two iterations, into host memory
    that is kept: ``keep`` times the size of the objects' states. One whose weights or moments are not finite is left
    out, and while things are suspected (`suspect`) none is taken. What an iteration measures, it measures on the
    weights it was given: so the newest snapshot counts with which an iteration was run that nobody called wrong. Where
    there is none such, the oldest does.

    Without any rollback a run ends with the same weights as without this, bit for bit. All processes take and give back
    the same snapshots; where they suspect different places, process 0's holds.

    Args:
        objects: what a rollback gives back, by name, as for `Checkpoint`: model, optimizer, loss scaler, average. Not
            what says where the run stands: schedule, log, sampler.
        learning_rate: a `LearningRate` to be cut at each return; None: rates stay.
        every: optimizer steps between snapshots.
        keep: how many snapshots there are.
        cut: what the rate is multiplied by; 1 only takes back a rise since the snapshot.
        attempts: returns that are allowed; what did not help so often will not help.
        window: count those of so many iterations only; None: of the whole run, since each one cuts the rate for good.
        after: ``after(engine, Return)``, called on every process when all is given back, for instance to discard
            checkpoints that were written since.

    Attributes:
        returns: what was done so far.
        save_snapshots: whether its own state holds the snapshots, so that a rollback after a resume goes back to where
            that of a run without an interruption does. Otherwise (at first) a resumed run takes its first as it starts.

    Raises:
        Diverged: from within the run, when there were too many returns, or there is no snapshot that counts.

    >>> import torch
    >>> model = nn.Linear(1, 1)
    >>> recovery = Recovery({"model": model})
    >>> recovery.snapshot(iteration=10)
    True
    >>> _ = nn.init.constant_(model.weight, 1e9)
    >>> recovery.restore("the loss exploded", iteration=12)
    Return(iteration=12, snapshot=10, reason='the loss exploded', factor=1.0)
    >>> bool(model.weight.abs() <= 1)
    True
    """

    def __init__(
        self,
        objects: Mapping[str, Any],
        learning_rate: LearningRate | None = None,
        *,
        every: int = 100,
        keep: int = 3,
        cut: float = 0.5,
        attempts: int = 3,
        window: int | None = None,
        after: Callable[[Engine, Return], object] | None = None,
    ):
        if not objects:
            raise ValueError("objects is empty; what is a rollback to give back?")
        checkpoint_file.check_names(objects)
        for name, count in (("every", every), ("keep", keep), ("attempts", attempts), ("window", window)):
            if count is not None and count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if not 0 < cut <= 1:
            raise ValueError(f"cut is {cut}; it lowers the rate, so it must be above 0, and at most 1")
        self.objects, self.learning_rate = dict(objects), learning_rate
        self._along: dict[str, Any] = {}
        self.every, self.keep, self.cut = every, keep, cut
        self.attempts, self.window, self.after = attempts, window, after
        self.returns: list[Return] = []
        self._snapshots: list[_Snapshot] = []  # oldest first
        self._free: list[HostCopy] = []
        self._suspected: int | None = None
        self._stepped, self._steps = False, 0  # in this iteration; iterations with a step since the last snapshot
        self._used: float | None = None  # the learning rate of the latest step
        self.save_snapshots, self._goes_on = False, False
        self._changed = 0  # the iteration that left the weights as they are
        self._meant = [  # infinite by design, as a mask is
            f"{name}.{buffer}"
            for name, thing in self.objects.items()
            if isinstance(thing, nn.Module)
            for buffer in checkpoint_file.infinite_buffers(thing)
        ]

    # ------------------------------------------------------------------------------------------------ on an engine

    def attach(self, trainer: Engine) -> None:
        """Take snapshots of ``trainer``'s run, and do its rollbacks: what is asked for of its `Consensus`.

        Raises:
            ValueError: nobody can tell when a step was taken.
        """
        optimizers = [thing for thing in self.objects.values() if isinstance(thing, Optimizer)]
        if self.learning_rate is not None:
            optimizers.append(self.learning_rate.optimizer)
        for optimizer in optimizers:
            watch(trainer, optimizer)
        if not trainer.has_registered_events(StepEvents.STEP_COMPLETED):
            raise ValueError(f"objects has {', '.join(self.objects)} and no optimizer; its steps have to be counted")
        trainer.add_event_handler(Events.STARTED, self._begin)
        trainer.add_event_handler(StepEvents.GRADIENTS_READY, self._note_rate)
        trainer.add_event_handler(StepEvents.STEP_COMPLETED, self._note_step)
        # Not when the iteration before has completed: a handler may yet call it wrong then.
        trainer.add_event_handler(Events.ITERATION_STARTED, self._between)
        Consensus.of(trainer).when("rollback", self)

    def __call__(self, engine: Engine) -> None:
        """Give back what an earlier iteration had, for the reason that the engine's `Consensus` has decided on."""
        reason = Consensus.of(engine).decisions[-1].reason
        done = self._return(reason, engine.state.iteration, wrong_from=self._changed + 1)
        if self.after is not None:
            self.after(engine, done)

    def _begin(self, engine: Engine) -> None:
        """A run starts with a snapshot, unless it was given those it had; the next come at the steps they would."""
        went_on, self._goes_on = self._goes_on, False
        if went_on and self._snapshots:
            return
        place = self._steps, self._stepped, self._changed
        self.snapshot(engine.state.iteration)
        self._steps, self._stepped, self._changed = place

    def _note_rate(self, engine: Engine) -> None:
        self._used = self._rate  # before the step, after which the schedule goes on
        if self._used is not None:
            for snapshot in self._snapshots:
                snapshot.rate = self._used if snapshot.rate is None else min(snapshot.rate, self._used)

    def _note_step(self, engine: Engine) -> None:
        self._stepped = True

    def _between(self, engine: Engine) -> None:
        """An iteration starts: the one before has gone by and nobody took it back."""
        if not self._stepped:
            return
        self._stepped = False
        self._changed = engine.state.iteration - 1
        self._steps += 1
        if self._steps >= self.every and self._suspected is None:
            self.snapshot(self._changed)

    # ---------------------------------------------------------------------------------------- for any loop, the core

    def suspect(self, iteration: int | None) -> None:
        """Say that ``iteration`` was the first to go wrong: at the next rollback only snapshots from before it count.

        The earliest place that was named holds. None: it was a false alarm.
        """
        known = [place for place in (iteration, self._suspected) if place is not None]
        self._suspected = None if iteration is None else min(known)

    def expect_rise(self, engine: Engine | None = None) -> None:
        """Say that the learning rate rises on purpose now, as at a warm restart: no rollback takes that back."""
        for snapshot in self._snapshots:
            snapshot.rate = None

    def snapshot(self, iteration: int) -> bool:
        """Copy all states as they are after ``iteration``. False if weights or moments are not finite.

        To be called by all processes, and never while gradients are being accumulated. Snapshots of this iteration and
        of later ones go: a run that is there once more has never had them.
        """
        self._drop([one for one in self._snapshots if one.iteration >= iteration])
        self._stepped, self._steps, self._changed = False, 0, iteration
        taken = {**self._along, **self.objects}
        states: Payload = {name: own_part(checkpoint_file.state_of(thing)) for name, thing in taken.items()}
        checkpoint_file.check_plain(states)
        if distributed.agree(int(self._is_broken(states, iteration))):
            return False
        if len(self._snapshots) == self.keep:
            self._drop(self._snapshots[:1])
        host = self._free.pop() if self._free else HostCopy()
        self._snapshots.append(_Snapshot(iteration, iteration + 1, self._used or self._rate, host, host.take(states)))
        return True

    def restore(self, reason: str, iteration: int) -> Return:
        """Give back what an earlier iteration had: what is measured in ``iteration`` is wrong. For all processes.

        Raises:
            Diverged: this was done often enough, or there is no snapshot that counts.
        """
        return self._return(reason, iteration, wrong_from=iteration)

    def take_along(self, objects: Mapping[str, Any]) -> None:
        """Let snapshots have the states of these, too, which are never given back: it makes checkpoints of them.

        Say it before the first snapshot is taken; what is small alone belongs there.
        """
        checkpoint_file.check_names(objects)
        self._along = dict(objects)

    def leading_to(self, iteration: int) -> list[tuple[int, Payload]]:
        """The snapshots from which the run came to ``iteration`` without a return in between; the oldest first.

        Each as the iteration after which it was taken, and its states. They are in the host's memory, and good until
        the next snapshot is taken: write them, or copy them, before. None where weights are shared out over processes:
        each has snapshots of its share alone.
        """
        if any(isinstance(thing, nn.Module) and sharded_parts(thing) for thing in self.objects.values()):
            return []
        since = max((done.iteration for done in self.returns if done.iteration < iteration), default=-1)
        leading = [one for one in self._snapshots if since <= one.iteration < iteration]
        for one in leading:
            one.host.wait()
        return [(one.iteration, one.states) for one in leading]

    def state_dict(self) -> dict[str, Any]:
        """The returns so far, the suspected place, when a snapshot is due, and, where they are saved, the snapshots."""
        state: dict[str, Any] = {"returns": [list(done) for done in self.returns], "suspected": self._suspected}
        state |= {"steps": self._steps, "stepped": self._stepped, "changed": self._changed, "used": self._used}
        if self.save_snapshots:
            state["snapshots"] = []
            for one in self._snapshots:
                one.host.wait()
                state["snapshots"].append([one.iteration, one.measured, one.rate, one.states])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting, and suspecting; with snapshots that lack the state of an object nobody goes on."""
        self.returns = [Return(*done) for done in state["returns"]]
        self._suspected = state["suspected"]
        self._goes_on = "steps" in state
        if not self._goes_on:  # saved by an earlier version
            return
        self._steps, self._stepped, self._changed, self._used = (
            state[name] for name in ("steps", "stepped", "changed", "used")
        )
        self._drop(list(self._snapshots))
        for iteration, measured, rate, states in state.get("snapshots", [])[-self.keep :]:
            if self.objects.keys() <= states.keys():
                host = self._free.pop() if self._free else HostCopy()
                self._snapshots.append(_Snapshot(iteration, measured, rate, host, host.take(states)))

    # ----------------------------------------------------------------------------------------------------- the work

    def _return(self, reason: str, iteration: int, *, wrong_from: int) -> Return:
        self._check_budget(reason, iteration)
        place, suspected = distributed.from_first((self._choose(wrong_from), self._suspected))
        if place is None:
            there = [str(snapshot.iteration) for snapshot in self._snapshots]
            since = f" that is from before iteration {suspected}" if suspected is not None and there else ""
            only = f" (only of {', '.join(there)})" if since else ""
            raise Diverged(f"{reason} (iteration {iteration}), and there is no snapshot{since} to go back to{only}")
        snapshot = next(one for one in self._snapshots if one.iteration == place)
        self._give_back(snapshot)
        self._drop([one for one in self._snapshots if one.iteration > place])
        factor = self._cut_rate(snapshot)
        snapshot.measured, self._changed = iteration + 1, iteration
        self._suspected, self._stepped, self._steps = None, False, 0
        done = Return(iteration, place, reason, factor)
        self.returns.append(done)
        text = "iteration %d: on with the weights of iteration %d and the learning rate times %g, since %s"
        log.warning(text, iteration, place, factor, reason)
        return done

    @property
    def _rate(self) -> float | None:
        """The learning rate of the coming step."""
        return None if self.learning_rate is None else max(self.learning_rate.rates)

    def _cut_rate(self, snapshot: _Snapshot) -> float:
        """Cut the rate, or take back its rise since it was lowest after the snapshot if that is more."""
        if self.learning_rate is None or not snapshot.rate or not self._rate:
            return 1.0
        factor = min(self.cut, snapshot.rate / self._rate)
        return factor if factor < 1 and self.learning_rate.lower(factor) else 1.0

    def _choose(self, wrong_from: int) -> int | None:
        """The iteration of the snapshot to go back to."""
        counting = self._snapshots
        if self._suspected is not None:
            wrong_from = min(wrong_from, self._suspected)
            counting = [snapshot for snapshot in counting if snapshot.iteration < self._suspected]
        good = [snapshot for snapshot in counting if snapshot.measured < wrong_from]
        chosen = good[-1:] or counting[:1]
        return chosen[0].iteration if chosen else None

    def _check_budget(self, reason: str, iteration: int) -> None:
        recent = [done for done in self.returns if self.window is None or done.iteration > iteration - self.window]
        if len(recent) >= self.attempts:
            told = ", ".join(f"from {done.iteration} to {done.snapshot}" for done in recent)
            within = f" in {self.window} iterations" if self.window is not None else ""
            raise Diverged(f"{reason} (iteration {iteration}), after {len(recent)} returns{within}: {told}")

    def _is_broken(self, states: Payload, iteration: int) -> bool:
        weights = [name for name, thing in self.objects.items() if isinstance(thing, (nn.Module, Optimizer))]
        try:
            checkpoint_file.check_finite({**states, "not_finite": self._meant}, weights)
        except NotFinite as error:
            log.warning("iteration %d: no snapshot, since it %s", iteration, error)
            return True
        return False

    def _give_back(self, snapshot: _Snapshot) -> None:
        snapshot.host.wait()
        given: list[str] = []
        for name, thing in self.objects.items():
            try:
                _give(thing, snapshot.states[name])
            except Exception as error:
                before = f" ({', '.join(given)} had been given back already)" if given else ""
                raise RuntimeError(
                    f"'{name}' cannot be given its state of iteration {snapshot.iteration}: {error}{before}"
                ) from error
            given.append(name)

    def _drop(self, snapshots: list[_Snapshot]) -> None:
        self._snapshots = [one for one in self._snapshots if one not in snapshots]
        self._free += [one.host for one in snapshots]


def _give(thing: Any, state: Any) -> None:
    state = copy.deepcopy(state)  # who loads it may keep its tensors and change them, and it may be needed again
    if not isinstance(thing, Optimizer):
        checkpoint_file.give_state(thing, state)
        return
    now, groups = [dict(group) for group in thing.param_groups], thing.state_dict()["param_groups"]
    for group, saved in zip(groups, state["param_groups"]):  # one that was added since has nothing to go back to
        group.update({key: value for key, value in saved.items() if key != "params"})
    checkpoint_file.give_state(thing, {**state, "param_groups": groups})
    for group, before in zip(thing.param_groups, now, strict=True):
        group.update({key: before[key] for key in SCHEDULED if key in before})  # a rate's tensor stays the same
    thing.zero_grad(set_to_none=True)

"""One answer, on all processes, to what any handler on any of them asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ignite.engine import Engine, Events
from torch.optim import Optimizer

from ignition import distributed
from ignition.events import StepEvents, stop, watch

log = logging.getLogger(__name__)

Request = Literal["skip", "tell", "save", "rollback", "preempt", "stop"]
Asker = Callable[[Engine], tuple[Request, str] | None]

_AFTER_STEP: tuple[Request, ...] = ("tell", "save", "rollback", "preempt", "stop")


class Decision(NamedTuple):
    """What was done, why, and in which iteration."""

    what: Request
    reason: str
    iteration: int


class Consensus:
    """Lets handlers ask for a skipped step, a save, a rollback or the end of the run, each with a reason.

    All processes of a run act on one answer in the same iteration, whichever of them was asked: otherwise one would
    leave while the others wait for it. All handlers share one small message an iteration, and none without processes.
    Requests are settled after all other handlers of an iteration or epoch, whenever those were attached, and never
    inside a group of accumulated batches. An engine has one: `Consensus.of`.

    ``skip`` leaves out the step whose gradients are ready; needs `attach` with the optimizer. ``tell`` calls who has
    registered by `when`, for what all processes have to hear from one; they may ask for more. ``save`` calls who has.
    ``rollback`` does, or ends the engine's run with the status ``rollback`` for who runs it to restore,
    `ignition.events.go_on` and run again. ``stop`` ends it as a success, ``preempt`` as one to go on with later. A save
    comes first, a rollback before an end: that is asked for again in the iteration after. At an epoch's last batch a
    save and an end wait for what the epoch's end does, its evaluation for instance.

    Attributes:
        decisions: what was decided so far, newest last; of the latest thousand.

    >>> trainer = Engine(lambda engine, batch: batch)
    >>> consensus = Consensus.of(trainer)
    >>> consensus.poll(lambda engine: ("stop", "seen enough") if engine.state.output == 2 else None)
    >>> trainer.run([1, 2, 3]).iteration, trainer.state.stop.reason
    (2, 'seen enough')
    """

    KEPT = 1000

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self._askers: list[Asker] = []
        self._asked: dict[Request, str] = {}
        self._actors: dict[str, list[Callable[[Engine], object]]] = {}
        self._steps: list[Optimizer] = []
        self._engine: Engine | None = None

    @classmethod
    def of(cls, engine: Engine) -> Consensus:
        """The consensus of ``engine``, made and attached when first asked for."""
        found = getattr(engine, "_consensus", None)
        if found is None:
            found = cls()
            found.attach(engine)
        return found

    def attach(self, engine: Engine, optimizer: Optimizer | None = None) -> None:
        """Settle what is asked for in ``engine``; with ``optimizer``, also about its steps.

        Raises:
            ValueError: the engine has another consensus, or this one another engine.
        """
        if self._engine is None and getattr(engine, "_consensus", None) is None:
            self._engine = engine
            engine._consensus = self  # type: ignore[attr-defined]
            engine.add_event_handler(Events.STARTED, self._come_last)
            self._come_last(engine)
        if self._engine is not engine:
            raise ValueError(
                "an engine has one consensus, and a consensus one engine: ask for it by Consensus.of(engine)"
            )
        if optimizer is not None and not any(known is optimizer for known in self._steps):
            self._steps.append(optimizer)
            watch(engine, optimizer)
            self._come_last(engine)

    def ask(self, what: Request, reason: str) -> None:
        """Leave a request, from within a handler. The first reason for each stands until it is settled."""
        if what == "skip" and not self._steps:
            raise ValueError("a step can be skipped by Consensus.attach(engine, optimizer) only: whose step is it?")
        if what != "skip" and what not in _AFTER_STEP:
            raise ValueError(f"nobody knows what {what!r} is; ask for one of skip, {', '.join(_AFTER_STEP)}")
        self._asked.setdefault(what, reason)

    def poll(self, asker: Asker) -> None:
        """Ask ``asker(engine)`` when it is time to settle; it gives a request and its reason, or None. Often called."""
        self._askers.append(asker)

    def when(self, what: Request, act: Callable[[Engine], object]) -> None:
        """Call ``act(engine)`` on every process when ``what`` is decided, before a run is ended for it."""
        self._actors.setdefault(what, []).append(act)

    # ------------------------------------------------------------------------------------------------ settling

    def settle(self, engine: Engine) -> None:
        """Collect what is asked for here, agree, act. Handlers that are attached call it; a plain loop may."""
        if getattr(engine.state, "group_open", False):
            return
        wanted = self._wanted(engine)
        answers = distributed.highest([int(what in wanted) for what in _AFTER_STEP])
        if not any(answers):
            return
        decided = [what for what, answer in zip(_AFTER_STEP, answers, strict=True) if answer]
        everybodys = distributed.gather(wanted)
        for what in decided:
            self._act(engine, what, _reason(everybodys, what))
            if what == "rollback":
                break  # an end that was asked for as well comes after the run was taken back
            if what == "tell":
                self.settle(engine)  # with what was asked for meanwhile
                break

    def settle_step(self, engine: Engine) -> None:
        """Agree on whether the step whose gradients are ready is left out."""
        reason = self._asked.pop("skip", None)
        state: Any = engine.state
        if distributed.agree(int(reason is not None)):
            everybodys = distributed.gather({} if reason is None else {"skip": reason})
            state.skip_step = True
            self._note(engine, "skip", _reason(everybodys, "skip"))
            for act in self._actors.get("skip", ()):
                act(engine)

    def _wanted(self, engine: Engine) -> dict[Request, str]:
        wanted = dict(self._asked)
        for asker in self._askers:
            request = asker(engine)
            if request is not None:
                wanted.setdefault(*request)
        if self._before_epoch_end(engine):  # a run resumed from here would leave out what is done at the epoch's end
            wanted = {what: reason for what, reason in wanted.items() if what in ("tell", "rollback")}
        return wanted

    def _before_epoch_end(self, engine: Engine) -> bool:
        state = engine.state
        within = engine.last_event_name == Events.ITERATION_COMPLETED
        return within and state.epoch_length is not None and state.iteration % state.epoch_length == 0

    def _act(self, engine: Engine, what: Request, reason: str) -> None:
        self._asked.pop(what, None)
        self._note(engine, what, reason)
        actors = self._actors.get(what, [])
        if what == "save" and not actors:
            raise RuntimeError(f"asked to save ({reason}), and nothing here saves: attach a Checkpoint")
        for act in actors:
            act(engine)
        if what == "rollback" and not actors:
            stop(engine, reason, status="rollback")
        if what in ("stop", "preempt"):
            stop(engine, reason, status="stopped" if what == "stop" else "preempted")

    def _note(self, engine: Engine, what: Request, reason: str) -> None:
        self.decisions.append(Decision(what, reason, engine.state.iteration))
        del self.decisions[: -self.KEPT]
        log.info("iteration %d: %s, %s", engine.state.iteration, what, reason)

    def _come_last(self, engine: Engine) -> None:
        """Move behind all handlers that were attached meanwhile: they ask, and what is saved is what they became."""
        for event in (Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED):
            _move_last(engine, event, self.settle)
        if self._steps:
            _move_last(engine, StepEvents.GRADIENTS_READY, self.settle_step)


def _move_last(engine: Engine, event: Any, handler: Callable[[Engine], None]) -> None:
    if engine.has_event_handler(handler, event):
        engine.remove_event_handler(handler, event)
    engine.add_event_handler(event, handler)


def _reason(everybodys: list[dict[Request, str]], what: Request) -> str:
    """The reason of the first process that has one; of which, where it is not this one's own."""
    for rank, wanted in enumerate(everybodys):
        if what in wanted:
            return wanted[what] if len(everybodys) == 1 else f"{wanted[what]} (process {rank})"
    raise AssertionError(f"{what} was decided and asked for by nobody")

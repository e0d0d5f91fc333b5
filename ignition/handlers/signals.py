"""Turns SIGTERM and SIGINT into an orderly stop."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from ignite.engine import Engine, Events

from ignition import distributed
from ignition.events import stop
from ignition.handlers.consensus import Consensus

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Ends a run at the end of its current step when the process is asked to go.

    A signal only leaves a note; it is looked at after each iteration, and all processes of a run stop in the same one
    whoever got the signal (`Consensus`). A group of accumulated batches is finished first, so that no gradient is lost.
    A second SIGINT raises KeyboardInterrupt at once.

    Works in the main thread, where Python delivers signals. It listens from the start of the run, or within a ``with``
    block, at whose end the former handlers come back; `restore` gives them back as well.

    >>> with Signals() as signals:
    ...     trainer = Engine(lambda engine, batch: signal.raise_signal(signal.SIGTERM) if batch == 2 else None)
    ...     signals.attach(trainer)
    ...     trainer.run([1, 2, 3]).stop
    Stop(status='preempted', reason='asked to stop by SIGTERM')
    >>> signals.signal_number
    15
    """

    def __init__(self) -> None:
        self._received = 0
        self._agreed = 0
        self._interrupted = False
        self._former: dict[int, Any] = {}
        self._process = 0

    @property
    def signal_number(self) -> int | None:
        """The signal that asks the run to end, of any process that was told so; None as long as there is none."""
        return self._agreed or self._received or None

    def attach(self, engine: Engine, *evaluators: Engine) -> None:
        """Stop ``engine``'s run when asked to; cut short the ``evaluators`` that run within it.

        An evaluation that is cut short does not fire its ``COMPLETED``, so that nobody takes half a metric for a whole
        one, and the engine stops right after it.
        """
        engine.add_event_handler(Events.STARTED, lambda engine: self.listen())
        consensus = Consensus.of(engine)
        consensus.poll(lambda engine: ("preempt", self.reason) if self._received else None)
        consensus.when("preempt", lambda engine: self.agree())
        for evaluator in evaluators:
            self.attach_evaluation(evaluator, engine)

    def attach_evaluation(self, evaluator: Engine, engine: Engine) -> None:
        """Cut short ``evaluator`` when asked to end, and stop ``engine``, within which or beside which it runs."""
        evaluation = _Evaluation(self, engine)
        evaluator.add_event_handler(Events.STARTED, evaluation.start)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, evaluation)

    @property
    def reason(self) -> str:
        """Why the run ends, in words; empty as long as nobody asked."""
        number = self.signal_number
        return f"asked to stop by {signal.Signals(number).name}" if number else ""

    def agree(self) -> bool:
        """Whether any process was asked to go: the same answer for all, which all must ask for together."""
        self._agreed = self._agreed or distributed.agree(self._received)
        return self._agreed > 0

    def listen(self) -> None:
        """Begin to take signals; a run that starts does so by itself.

        Raises:
            ValueError: called outside the main thread.
        """
        if self._former:
            return
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("signals reach the main thread only; run the engine there, or without Signals")
        self._process = os.getpid()
        for number in NUMBERS:
            self._former[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the former handlers back."""
        for number, former in self._former.items():
            signal.signal(number, signal.SIG_DFL if former is None else former)
        self._former.clear()

    def __enter__(self) -> Signals:
        self.listen()
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A forked child (a loader's worker) inherits this handler but has no run to end. A Ctrl-C reaches it as
            # well, and the parent still needs it for the step that it finishes; a SIGTERM is meant for itself.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self._received = self._received or number


class _Evaluation:
    """Cuts an evaluation short; over many processes only in iterations that all of them have."""

    def __init__(self, signals: Signals, trainer: Engine):
        self.signals, self.trainer = signals, trainer
        self._shared: float = 0

    def start(self, evaluator: Engine) -> None:
        """Find out how many iterations the shortest share of the data has: beyond them nobody would answer."""
        own = evaluator.state.epoch_length or 0
        self._shared = -distributed.agree(-own) if distributed.world_size() > 1 else float("inf")

    def __call__(self, evaluator: Engine) -> None:
        if evaluator.state.iteration > self._shared or not self.signals.agree():
            return
        evaluator.terminate(skip_completed=True)
        if not getattr(self.trainer.state, "group_open", False):
            stop(self.trainer, self.signals.reason, status="preempted")

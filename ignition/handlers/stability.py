"""Watches a run for what goes wrong in it, says so, and does about it what a policy says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine

from ignition import distributed
from ignition.events import StabilityEvents, register_stability_events
from ignition.handlers.consensus import Consensus
from ignition.stability import NAMES, Doctor, Finding

log = logging.getLogger(__name__)

Action = Callable[[Engine, Finding], str]


class Stability:
    """Reads rows as a writer of `MetricsLog`, finds what goes wrong, and acts.

    Rows come to process 0; what it finds all processes hear in the same iteration (`Consensus`). There
    ``engine.state.finding`` is set, the finding's event of `StabilityEvents` fires, and its action is called, on all of
    them alike. A finding comes as late as its row does: `MetricsLog` brings numbers down every so many iterations.

    Args:
        doctor: what finds; the usual detectors if None.
        policy: what a finding leads to, by its name: the name of an action. A finding without one is only told.
        actions: by name: ``action(engine, finding)`` does something and says what, in words.
        tell: takes each finding as a row, with ``action`` and what was ``done``; on process 0, for instance
            ``RunFolder.write_incident``.

    Attributes:
        findings: how many there were.
        wrong_from: the iteration in which the latest critical one began.

    >>> def step(engine, loss):
    ...     stability({"iteration": engine.state.iteration, "train/batch_loss": loss})
    >>> trainer = Engine(step)
    >>> stability = Stability(policy={"non_finite": "stop"}, actions={"stop": ask_to_stop})
    >>> stability.attach(trainer)
    >>> trainer.run([1.0, 1.0, float("nan"), 1.0]).stop.reason
    'loss is nan at iteration 3'
    """

    def __init__(
        self,
        doctor: Doctor | None = None,
        *,
        policy: Mapping[str, str] | None = None,
        actions: Mapping[str, Action] | None = None,
        tell: Callable[[dict[str, Any]], object] | None = None,
    ):
        self.doctor = doctor or Doctor()
        self.policy, self.actions, self.tell = dict(policy or {}), dict(actions or {}), tell
        for finding, action in self.policy.items():
            if finding not in NAMES:
                raise ValueError(f"policy names {finding!r}; there are: {', '.join(NAMES)}")
            if action not in self.actions:
                raise ValueError(f"policy says {action!r} for {finding}; actions: {', '.join(self.actions) or 'none'}")
        self.findings = 0
        self.wrong_from: int | None = None
        self._pending: list[Finding] = []

    def attach(self, trainer: Engine) -> None:
        """Act on ``trainer``. Rows come from elsewhere: give this to `MetricsLog` as a writer."""
        register_stability_events(trainer)
        consensus = Consensus.of(trainer)
        consensus.poll(lambda engine: ("tell", self._pending[0].message) if self._pending else None)
        consensus.when("tell", self.act)

    def __call__(self, row: Mapping[str, Any]) -> None:
        self._pending += self.doctor.read(row)

    def act(self, engine: Engine) -> None:
        """Let all processes hear what was found, and do what the policy says."""
        found: list[Finding] = distributed.from_first(self._pending)
        self._pending = []
        state: Any = engine.state
        for finding in found:
            action = self.policy.get(finding.name, "")
            done = self.actions[action](engine, finding) if action else ""
            self._tell(engine, finding, action, done)
            state.finding = finding
            engine.fire_event(StabilityEvents(finding.name))

    def end(self, engine: Engine, *more: Finding) -> None:
        """Tell what was found and nobody can act upon, since the run has failed, and ``more`` that others found."""
        found, self._pending = [*self._pending, *more], []
        for finding in found:
            self._tell(engine, finding, "", "")

    def _tell(self, engine: Engine, finding: Finding, action: str, done: str) -> None:
        self.findings += 1
        if finding.severity == "critical":
            self.wrong_from = finding.first
        self._say(finding, done)
        if self.tell is not None and distributed.rank() == 0:
            self.tell({"iteration": engine.state.iteration, **finding.row(), "action": action, "done": done})

    def _say(self, finding: Finding, done: str) -> None:
        if distributed.rank() != 0:
            return
        advice = finding.advice[0].override if finding.advice else ""
        words = [finding.message, f"try {advice}" if advice else "", done]
        log.log(
            logging.INFO if finding.severity == "info" else logging.WARNING, "; ".join(word for word in words if word)
        )

    def state_dict(self) -> dict[str, Any]:
        """What the detectors remember, and what has been found and not told yet."""
        pending = [finding.row() for finding in self._pending]
        return {"doctor": self.doctor.state_dict(), "findings": self.findings, "pending": pending}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a run was left."""
        self.doctor.load_state_dict(state["doctor"])
        self.findings, self._pending = state["findings"], [Finding.of(row) for row in state["pending"]]


def ask_to_stop(engine: Engine, finding: Finding) -> str:
    """An action: the run ends, with the finding as its reason."""
    Consensus.of(engine).ask("stop", finding.message)
    return "the run ends"

"""What is done about a run in which trouble was found, by the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ignite.engine import Engine

from ignition.config import Config
from ignition.handlers.consensus import Consensus
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.recovery import Recovery, Return
from ignition.handlers.stability import Stability, ask_to_stop
from ignition.stability import Doctor, Finding


def recovery_of(
    config: Config, objects: dict[str, Any], learning_rate: LearningRate, after: Callable[[Engine, Return], object]
) -> Recovery | None:
    """What gives a run earlier weights, if a finding leads to that."""
    settings = config.stability
    if not settings.watch or "rollback" not in settings.on.values():
        return None
    return Recovery(
        objects,
        learning_rate,
        every=settings.snapshot_every,
        cut=settings.cut,
        attempts=settings.attempts,
        after=after,
    )


def stability_of(
    config: Config,
    doctor: Doctor,
    learning_rate: LearningRate,
    recovery: Recovery | None,
    *,
    tell: Callable[[dict[str, Any]], object],
    blame: Callable[[int], Sequence[int]],
) -> Stability | None:
    """What tells findings to ``tell``, and does about them what the config says; None if nothing is looked for.

    ``blame`` counts the samples of an iteration's batch as guilty, and gives those that are left out from the next
    epoch on because they were so more than once.
    """
    if not config.stability.watch:
        return None

    def cut_rate(engine: Engine, finding: Finding) -> str:
        lowered = learning_rate.lower(config.stability.cut)
        return f"the learning rate is multiplied by {config.stability.cut:g}" if lowered else "the rate is at its floor"

    def roll_back(engine: Engine, finding: Finding) -> str:
        if recovery is not None:
            recovery.suspect(finding.first)
        Consensus.of(engine).ask("rollback", finding.message)
        guilty = ", ".join(map(str, blame(finding.first)))
        left_out = f"; samples {guilty} are left out from the next epoch on" if guilty else ""
        return f"back to earlier weights{left_out}"

    actions = {"cut_rate": cut_rate, "rollback": roll_back, "stop": ask_to_stop}
    return Stability(doctor, policy=config.stability.on, actions=actions, tell=tell)

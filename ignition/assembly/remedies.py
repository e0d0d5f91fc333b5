"""What is done about a run in which trouble was found, by the config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ignite.engine import Engine

from ignition import distributed
from ignition.assembly.host_memory import shortage, states_size
from ignition.assembly.processes import is_shared_out
from ignition.config import SNAPSHOTS, Config
from ignition.handlers.consensus import Consensus
from ignition.handlers.gradient_clipping import GradientClipping
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.outlier_steps import Outlier, OutlierSteps
from ignition.handlers.recovery import Recovery, Return
from ignition.handlers.stability import Action, Stability, ask_to_stop
from ignition.loss_terms import LossWeights
from ignition.stability import Doctor, Finding

log = logging.getLogger(__name__)

SAVED_BYTES = 64 * 2**20  # of snapshots, that go into each checkpoint unasked


def recovery_of(
    config: Config, objects: dict[str, Any], learning_rate: LearningRate, after: Callable[[Engine, Return], object]
) -> Recovery | None:
    """What gives a run earlier weights, if a finding leads to that and the host has the memory for snapshots."""
    settings = config.stability
    if not settings.watch or "rollback" not in settings.on.values():
        return None
    short = shortage(objects, SNAPSHOTS)
    if distributed.agree(int(bool(short))):
        log.warning("%s: a rollback goes back to the last checkpoint instead", short or "another process is short")
        return None
    saved = config.checkpoint.snapshots
    if saved is None:
        # Where weights are shared out each process has snapshots of its own share, and a checkpoint is one file of all.
        saved = not is_shared_out(config) and SNAPSHOTS * states_size(objects) <= SAVED_BYTES
    recovery = Recovery(
        objects,
        learning_rate,
        keep=SNAPSHOTS,
        every=settings.snapshot_every or max(25, config.logging.every),
        cut=settings.cut,
        attempts=settings.attempts,
        after=after,
    )
    recovery.save_snapshots = saved
    return recovery


def outlier_steps_of(config: Config) -> OutlierSteps | None:
    """What leaves out steps far from what is usual, if a finding leads to that."""
    settings = config.stability
    outliers = [name for name in get_args(Outlier) if settings.on.get(name) == "skip"]
    return OutlierSteps(outliers) if settings.watch and outliers else None


@dataclass(frozen=True)
class Remedies:
    """The actions that a config can name. Each does something about a finding, and says what in words.

    Attributes:
        learning_rate, clipping, weights: what is cut, tightened, and has terms left out.
        recovery, outliers: what goes back, and what leaves out steps; None where no finding leads to that.
        cut: what the rate or the limit of clipping is multiplied by.
        blame: counts the samples of an iteration's batch as guilty; gives those that are left out from the next epoch
            on because they were so more than once.
    """

    learning_rate: LearningRate
    clipping: GradientClipping
    weights: LossWeights
    recovery: Recovery | None
    outliers: OutlierSteps | None
    cut: float
    blame: Callable[[int], Sequence[int]]

    def actions(self) -> dict[str, Action]:
        """All of them by name."""
        return {
            "blame": self.blame_batch,
            "skip": self.skip,
            "tighten_clip": self.tighten_clip,
            "cut_rate": self.cut_rate,
            "leave_out": self.leave_out,
            "rollback": self.roll_back,
            "stop": ask_to_stop,
        }

    def blame_batch(self, engine: Engine, finding: Finding) -> str:
        """A sample that is in two such batches is left out; others hardly ever are."""
        return f"the samples of its batch are blamed{self._blamed(finding.first)}"

    def skip(self, engine: Engine, finding: Finding) -> str:
        """The step was left out when it was due; its samples are blamed."""
        if self.outliers is None or self.outliers.latest < finding.first:
            return "its step was taken"
        return f"its step was left out{self._blamed(finding.first)}"

    def tighten_clip(self, engine: Engine, finding: Finding) -> str:
        self.clipping.tighten(self.cut)
        return f"the limit of clipping is multiplied by {self.cut:g}"

    def cut_rate(self, engine: Engine, finding: Finding) -> str:
        lowered = self.learning_rate.lower(self.cut)
        return f"the learning rate is multiplied by {self.cut:g}" if lowered else "the rate is at its floor"

    def leave_out(self, engine: Engine, finding: Finding) -> str:
        """The loss term that the finding is about counts nothing from now on."""
        if not self.weights.leave_out(finding.subject):
            return ""
        return f"'{finding.subject}' is left out of the loss from here on"

    def roll_back(self, engine: Engine, finding: Finding) -> str:
        if self.recovery is not None:
            self.recovery.suspect(finding.first)
        Consensus.of(engine).ask("rollback", finding.message)
        return f"back to earlier weights{self._blamed(finding.first)}"

    def _blamed(self, iteration: int) -> str:
        guilty = self.blame(iteration)
        if not guilty:
            return ""
        who = f"sample {guilty[0]} is" if len(guilty) == 1 else f"samples {', '.join(map(str, guilty))} are"
        return f"; {who} left out from the next epoch on"


def stability_of(
    config: Config, doctor: Doctor, remedies: Remedies, *, tell: Callable[[dict[str, Any]], object]
) -> Stability | None:
    """What tells findings to ``tell``, and does about them what the config says; None if nothing is looked for."""
    if not config.stability.watch:
        return None
    policy = {finding: action for finding, action in config.stability.on.items() if action != "tell"}
    return Stability(doctor, policy=policy, actions=remedies.actions(), tell=tell)

"""A run that was planned: its settings, and what follows from them in epochs, steps and evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ignition.config import Config
from ignition.review.facts import Facts, Traits


@dataclass(frozen=True)
class Plan:
    """What the rules are given.

    >>> from ignition.config import load_config
    >>> plan = Plan(load_config(None, overrides=["trainer.epochs=10", "trainer.evaluate_every=4"]))
    >>> plan.evaluation_epochs, plan.steps
    ([4, 8, 10], None)
    """

    config: Config
    traits: Traits = field(default_factory=Traits)
    facts: Facts = field(default_factory=Facts)

    @property
    def epochs(self) -> int:
        return self.config.trainer.epochs

    @property
    def evaluation_epochs(self) -> list[int]:
        """The epochs after which there is an evaluation."""
        every = self.config.trainer.evaluate_every
        return sorted({*range(every, self.epochs + 1, every), self.epochs})

    @property
    def evaluations(self) -> int:
        """How many evaluations there are."""
        return len(self.evaluation_epochs) + self.config.trainer.evaluate_first

    @property
    def step_samples(self) -> int:
        """Samples of an optimizer step."""
        return self.config.data.batch_size * self.config.trainer.accumulate

    @property
    def epoch_batches(self) -> int | None:
        """Batches of an epoch, if it is known how much data there is."""
        samples = self.facts.train_samples
        return None if samples is None else math.ceil(samples / self.config.data.batch_size)

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the run."""
        batches = self.epoch_batches
        return None if batches is None else self.epochs * math.ceil(batches / self.config.trainer.accumulate)

    @property
    def transformer(self) -> bool:
        """Whether the network is one, as the recipe says, or else its layers."""
        return self.facts.attention if self.traits.transformer is None else self.traits.transformer

    @property
    def adam(self) -> bool:
        """Whether the optimizer is Adam or one of its kin, whose steps are as long as the rate says."""
        return "adam" in self.config.optimizer.name.lower()

    @property
    def warmup_epochs(self) -> float:
        """Epochs on the way up to the highest rate."""
        return _warmup(self.config.schedule, self.epochs)

    def cuts(self, evaluations: int) -> int:
        """How often a plateau schedule can lower the rate in so many: the first one is the best so far."""
        schedule: Any = self.config.schedule
        waits = evaluations - 1 - (schedule.patience + 1)
        return 0 if waits < 0 else 1 + waits // (schedule.patience + 1 + schedule.cooldown)


def _warmup(schedule: Any, epochs: float) -> float:
    if schedule.name == "one_cycle":
        return float(schedule.warmup_fraction * epochs)
    if schedule.name == "sequence":
        first = schedule.parts[0]
        return _warmup(first.schedule, first.epochs or epochs)
    return float(schedule.warmup_epochs)

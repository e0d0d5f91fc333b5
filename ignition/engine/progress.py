"""Where a training stands, as its losses are told."""

from __future__ import annotations

from typing import Any

from ignition.loss_terms import LossWeights, Progress


def progress_of(state: Any, weights: LossWeights, iteration: int | None = None) -> Progress:
    """The `Progress` at an engine's ``state``, or at another iteration of the same epoch."""
    iteration = state.iteration if iteration is None else iteration
    epoch = (iteration - 1) / state.epoch_length if state.epoch_length else float(state.epoch - 1)
    epoch = max(epoch, 0.0)
    return Progress(iteration, epoch, epoch / state.max_epochs if state.max_epochs else 0.0, weights.at(epoch))

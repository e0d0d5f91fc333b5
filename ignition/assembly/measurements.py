"""What measures a run from within, for whoever looks for trouble in it, by the config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from ignition.config import Config
from ignition.handlers.layer_statistics import LayerStatistics
from ignition.handlers.term_gradients import TermGradients
from ignition.handlers.unit_activity import UnitActivity


class Measurements(NamedTuple):
    """What measures: each parameter at a step, loss terms before a backward pass, units in an evaluation."""

    layers: LayerStatistics
    terms: TermGradients
    units: UnitActivity


def measurements_of(config: Config, model: nn.Module, tell: Callable[[dict[str, Any]], object]) -> Measurements | None:
    """What measures ``model``, which is not wrapped, and tells rows to ``tell``; None if nobody looks at them."""
    every = config.stability.measure_every
    if not config.stability.watch or not every:
        return None
    return Measurements(
        LayerStatistics(model, tell, every=every),
        TermGradients(model, tell, every=every),
        UnitActivity(model, tell),
    )

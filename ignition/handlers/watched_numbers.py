"""Numbers that a recipe wants watched, averaged over an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from ignition import distributed
from ignition.data import count_samples


class WatchedNumbers:
    """Averages what ``measure(batch, outputs)`` gives over the samples of an evaluation, on all processes.

    The means appear in ``engine.state.metrics`` under ``<prefix>/<name>``, and are sums on the device until then.

    Args:
        measure: gives numbers or 0-dim tensors by name, the same names for every batch.
        prefix: what the names begin with.
    """

    def __init__(self, measure: Callable[[Any, Any], Mapping[str, Any]], *, prefix: str = "signal"):
        self.measure, self.prefix = measure, prefix
        self._sums: dict[str, torch.Tensor] = {}
        self._samples = 0

    def attach(self, evaluator: Engine) -> None:
        """Follow ``evaluator``, whose output is ``(outputs, batch)``."""
        evaluator.add_event_handler(Events.STARTED, self.reset)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self)
        evaluator.add_event_handler(Events.COMPLETED, self.compute)

    def reset(self, engine: Engine | None = None) -> None:
        """Forget the evaluation before."""
        self._sums, self._samples = {}, 0

    def __call__(self, engine: Engine) -> None:
        output: Any = engine.state.output
        outputs, batch = output
        samples = count_samples(batch)
        with torch.no_grad():
            for name, value in self.measure(batch, outputs).items():
                value = torch.as_tensor(value, dtype=torch.float32) * samples
                self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._samples += samples

    def compute(self, engine: Engine) -> None:
        """Put the means into ``engine.state.metrics``."""
        names = sorted(set().union(*distributed.gather(list(self._sums))))
        sums = distributed.totals([float(self._sums.get(name, 0.0)) for name in names] + [float(self._samples)])
        for name, value in zip(names, sums):
            engine.state.metrics[f"{self.prefix}/{name}"] = value / max(sums[-1], 1.0)

"""Names the samples that brought NaN or infinity into a step that was left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

from ignition.data import count_samples
from ignition.events import StepEvents, watch

log = logging.getLogger(__name__)


class NonFiniteInput:
    """Looks into the batches of a step that was left out, and names the samples that are not finite, each once.

    Only then: to look at every batch would cost a pass over all data.

    Args:
        samples_of: the dataset indices of this process's batch in an iteration, in their order.
        split: what messages call the data.

    Attributes:
        named: the samples found so far.
    """

    def __init__(self, samples_of: Callable[[int], Sequence[int]], *, split: str = "train"):
        self.samples_of, self.split = samples_of, split
        self.named: set[int] = set()
        self._batches: list[tuple[int, Any]] = []  # of the step that comes

    def attach(self, engine: Engine, optimizer: Optimizer) -> None:
        """Watch the steps of ``optimizer`` in ``engine``."""
        watch(engine, optimizer)
        engine.add_event_handler(Events.ITERATION_STARTED, self._note)
        engine.add_event_handler(StepEvents.STEP_SKIPPED, self._look)

    def _note(self, engine: Engine) -> None:
        state: Any = engine.state
        if not getattr(state, "group_open", False):
            self._batches = []
        self._batches.append((state.iteration, state.batch))

    def _look(self, engine: Engine) -> None:
        for iteration, batch in self._batches:
            found = non_finite_samples(batch)
            indices = self.samples_of(iteration) if found else ()
            for place, names in found.items():
                index = indices[place] if place < len(indices) else -1
                if index not in self.named:
                    self.named.add(index)
                    log.warning(
                        "iteration %d: sample %d of the %s data has values that are not finite in %s: mend it, or "
                        "leave it out of the data",
                        iteration, index, self.split, " and ".join(names),
                    )  # fmt: skip


def non_finite_samples(batch: Any) -> dict[int, list[str]]:
    """The places in ``batch`` at which samples are not finite, and in which of its tensors.

    >>> non_finite_samples({"x": torch.tensor([[1.0], [float("nan")]]), "y": torch.tensor([0, 1])})
    {1: ["'x'"]}
    """
    samples = count_samples(batch)
    found: dict[int, list[str]] = {}
    for name, tensor in _tensors(batch, ""):
        if tensor.ndim and len(tensor) == samples and tensor.is_floating_point():
            good = torch.isfinite(tensor).flatten(1).all(1) if tensor.ndim > 1 else torch.isfinite(tensor)
            for place in (~good).nonzero().flatten().tolist():
                found.setdefault(place, []).append(name or "its tensor")
    return found


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}[{key!r}]" if name else repr(key))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _tensors(item, f"{name}[{place}]")

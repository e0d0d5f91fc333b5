"""Pictures of what a model predicts, a few at every evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from ignition import distributed

log = logging.getLogger(__name__)

Draw = Callable[[Any, Any], Mapping[str, torch.Tensor]]
Write = Callable[[str, torch.Tensor], None]


class Pictures:
    """Draws the first batches of an evaluation, until there are ``count`` pictures.

    Pictures are worth looking at and not worth a run: where drawing or writing fails, one warning says so.

    Args:
        draw: ``draw(batch, outputs)`` gives images by name, float [3,H,W] in 0..1.
        write: ``write(name, image)`` keeps one. A name that came before in the same evaluation gets a number.
        count: how many at each evaluation.
    """

    def __init__(self, draw: Draw, write: Write, *, count: int = 4):
        self.draw, self.write, self.count = draw, write, count
        self._names: set[str] = set()
        self._failed = False

    def attach(self, evaluator: Engine) -> None:
        """Draw from ``evaluator``, whose output is ``(outputs, batch)``."""
        evaluator.add_event_handler(Events.STARTED, lambda engine: self._names.clear())
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if len(self._names) >= self.count or self._failed or distributed.rank() != 0:
            return
        output: Any = engine.state.output
        outputs, batch = output
        try:
            for name, image in self.draw(batch, outputs).items():
                if len(self._names) < self.count:
                    self.write(self._new_name(name), image.detach().float().cpu().clamp(0, 1))
        except Exception as error:
            self._failed = True
            log.warning("no more pictures in this run, drawing them failed: %s: %s", type(error).__name__, error)

    def _new_name(self, name: str) -> str:
        number, new = 1, name
        while new in self._names:
            number += 1
            new = f"{name}-{number}"
        self._names.add(new)
        return new

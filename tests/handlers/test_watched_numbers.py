"""Signals of a recipe, averaged over an evaluation."""

import torch
from ignite.engine import Engine

from ignition.handlers.watched_numbers import WatchedNumbers


def test_numbers_are_means_over_samples_and_forget_the_evaluation_before():
    engine = Engine(lambda engine, batch: (batch, batch))
    WatchedNumbers(lambda batch, outputs: {"mean": outputs.mean(), "count": len(batch)}).attach(engine)
    engine.run([torch.zeros(5)])
    engine.run([torch.full((3,), 2.0), torch.full((1,), 6.0)])
    assert engine.state.metrics == {"signal/mean": 3.0, "signal/count": 2.5}

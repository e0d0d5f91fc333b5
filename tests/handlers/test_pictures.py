"""Pictures of an evaluation: as many as asked for, and never the end of a run."""

import logging

import torch
from ignite.engine import Engine

from ignition.handlers.pictures import Pictures


def evaluate(draw, count):
    kept = {}
    engine = Engine(lambda engine, batch: (batch * 2, batch))
    Pictures(draw, kept.__setitem__, count=count).attach(engine)
    for _ in range(2):
        engine.run([torch.full((3, 2, 2), 0.1), torch.full((3, 2, 2), 0.4), torch.full((3, 2, 2), 0.9)])
    return kept


def test_names_that_come_again_are_numbered_and_values_stay_in_range():
    kept = evaluate(lambda batch, outputs: {"twice": outputs}, 3)
    assert {name: round(float(image.max()), 2) for name, image in kept.items()} == {
        "twice": 0.2,
        "twice-2": 0.8,
        "twice-3": 1.0,
    }


def test_no_more_than_asked_for():
    assert list(evaluate(lambda batch, outputs: {"a": outputs, "b": outputs}, 1)) == ["a"]


def test_a_drawing_that_fails_is_told_once_and_ends_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        assert evaluate(lambda batch, outputs: 1 / 0, 2) == {}
    assert [record.message for record in caplog.records] == [
        "no more pictures in this run, drawing them failed: ZeroDivisionError: division by zero"
    ]

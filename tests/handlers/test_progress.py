"""What a person sees of a run, on a terminal and elsewhere."""

import io

import pytest
from ignite.engine import Engine, Events
from rich.console import Console

from ignition.handlers.progress import Progress


def run(console, **keywords):
    trainer = Engine(lambda engine, batch: None)
    progress = Progress(console=console, **keywords)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: progress({"train/batch_loss": 0.5, "train/learning_rate": 1e-3, "train/epoch_avg_loss": 0.25}),
    )
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: progress(
            {"val/loss": 0.75, "val/epe": 2.0, "val/bad1": 30.0, "val/bad2": 20.0, "val/loss/x": 1.0}
        ),
    )
    progress.attach(trainer)
    trainer.run(range(3), max_epochs=2)
    return trainer


def test_off_a_terminal_there_is_one_plain_line_an_epoch():
    stream = io.StringIO()
    run(Console(file=stream, width=200))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    start = "epoch 1/2 · loss 0.25 · val/loss 0.75 · val/epe 2 · lr 1.00e-03 · "
    assert lines[0].startswith(start)
    assert lines[1].endswith("0 s left")
    assert "\x1b" not in stream.getvalue()


def test_an_epoch_that_takes_long_says_how_far_it_is():
    stream = io.StringIO()
    run(Console(file=stream, width=200), every_seconds=0.0)
    assert [line.split(" · ")[0] for line in stream.getvalue().splitlines()] == ["epoch 1/2"] * 4 + ["epoch 2/2"] * 4


def test_on_a_terminal_a_bar_is_drawn_and_taken_away():
    stream = io.StringIO()
    run(Console(file=stream, width=120, force_terminal=True))
    assert "\x1b" in stream.getvalue()
    assert "epoch 2/2" in stream.getvalue()


def test_an_error_goes_on_its_way_and_the_bar_is_gone():
    trainer = Engine(lambda engine, batch: 1 / 0)
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    progress.attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([1])
    assert progress._bar is None

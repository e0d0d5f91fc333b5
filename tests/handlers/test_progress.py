"""What a person sees of a run, on a terminal and elsewhere."""

import io
import math
from types import SimpleNamespace

import pytest
from ignite.engine import Engine, Events
from rich.console import Console

from ignition.events import stop
from ignition.handlers import Progress, progress


@pytest.fixture
def clock(monkeypatch, told_time):
    monkeypatch.setattr(progress, "time", told_time)
    return told_time


class Run:
    """An engine, what a log would tell of it, and an evaluation every so often."""

    def __init__(
        self, clock, *, seconds=2.0, terminal=False, evaluation_seconds=0.0, evaluate_every=1, compile_seconds=0.0, **kw
    ):
        self.stream = io.StringIO()
        console = Console(file=self.stream, width=200, force_terminal=terminal)
        self.progress = Progress(console=console, **kw)
        self.seconds, self.compile_seconds, self.clock = seconds, compile_seconds, clock
        self.trainer = Engine(self.step)
        self.trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: self.progress({"train/batch_loss": 1 / engine.state.iteration, "train/learning_rate": 1e-3}),
        )

        @self.trainer.on(Events.EPOCH_COMPLETED)
        def average(engine):
            self.progress({"train/epoch_avg_loss": 0.25})

        @self.trainer.on(Events.EPOCH_COMPLETED(every=evaluate_every))
        def evaluate(engine):
            clock.sleep(evaluation_seconds)
            self.progress({"val/loss": engine.state.epoch / 4, "val/epe": 2.0, "val/bad1": 30.0, "val/loss/x": 1.0})

    def step(self, engine, batch):
        self.clock.sleep(self.seconds + self.compile_seconds)
        self.compile_seconds = 0.0

    def __call__(self, data, **keywords):
        self.progress.attach(self.trainer)  # last
        self.trainer.run(data, **keywords)
        return self.lines

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


def test_off_a_terminal_there_is_one_plain_line_an_epoch(clock):
    assert Run(clock)(range(3), max_epochs=2) == [
        "epoch 1/2 · loss 0.25 · val/loss 0.25 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 6 s left",
        "epoch 2/2 · loss 0.25 · val/loss 0.5 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 0 s left",
    ]


def test_asked_metrics_come_first_and_numbers_that_are_not_finite_are_shown(clock):
    run = Run(clock, metrics=("val/epe", "val/nothing"))
    run.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: run.progress({"val/epe": math.nan}))
    assert run(range(3)) == ["epoch 1/1 · loss 0.25 · val/epe nan · val/loss 0.25 · lr 1.00e-03 · 0.5 it/s · 0 s left"]


def test_an_epoch_that_takes_long_says_how_far_it_is(clock):
    assert Run(clock, every_seconds=4.0)(range(5)) == [
        "epoch 1/1 · batch 2/5 · loss 0.5 · lr 1.00e-03 · 0.5 it/s · 6 s left",
        "epoch 1/1 · batch 4/5 · loss 0.25 · lr 1.00e-03 · 0.5 it/s · 2 s left",
        "epoch 1/1 · loss 0.25 · val/loss 0.25 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 0 s left",
    ]


def test_a_long_evaluation_is_no_slow_training_and_counts_for_the_time_left(clock):
    lines = Run(clock, evaluation_seconds=600.0)(range(4), max_epochs=3)
    assert [line.split(" · ")[-2:] for line in lines] == [
        ["0.5 it/s", "20 min 16 s left"],  # two epochs of 8 s and two evaluations of 600 s
        ["0.5 it/s", "10 min 08 s left"],
        ["0.5 it/s", "0 s left"],
    ]


def test_the_first_iteration_which_compiles_is_not_the_pace(clock):
    lines = Run(clock, compile_seconds=300.0, every_seconds=1.0)(range(3))
    assert [line.split(" · ")[-2:] for line in lines[:2]] == [["loss 1", "lr 1.00e-03"], ["0.5 it/s", "2 s left"]]


def test_speeds_from_slow_to_fast_are_readable(clock):
    assert [Run(clock, seconds=seconds)(range(3))[-1].split(" · ")[-2] for seconds in (40.0, 0.016, 0.0002)] == [
        "0.025 it/s",
        "62.5 it/s",
        "5000 it/s",
    ]


def test_an_epoch_without_an_evaluation_does_not_show_the_one_before(clock):
    lines = Run(clock, evaluate_every=2)(range(3), max_epochs=3)
    assert ["val/loss" in line for line in lines] == [False, True, False]


def test_a_resumed_run_goes_on_where_it_was_and_counts_its_own_speed(clock):
    run = Run(clock, every_seconds=4.0)
    run.trainer.load_state_dict({"iteration": 7, "epoch_length": 5, "max_epochs": 3})
    assert run(range(5)) == [
        "epoch 2/3 · batch 4/5 · loss 0.1111 · lr 1.00e-03 · 0.5 it/s · 12 s left",
        "epoch 2/3 · loss 0.25 · val/loss 0.5 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 10 s left",
        "epoch 3/3 · batch 2/5 · loss 0.08333 · lr 1.00e-03 · 0.5 it/s · 6 s left",
        "epoch 3/3 · batch 4/5 · loss 0.07143 · lr 1.00e-03 · 0.5 it/s · 2 s left",
        "epoch 3/3 · loss 0.25 · val/loss 0.75 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 0 s left",
    ]


def test_a_run_that_stops_early_has_no_time_left(clock):
    run = Run(clock)
    run.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: stop(engine, "good enough"))
    assert run(range(3), max_epochs=20)[-1] == (
        "epoch  2/20 · loss 0.25 · val/loss 0.5 · val/epe 2 · lr 1.00e-03 · 0.5 it/s"
    )


def test_a_run_that_stops_within_an_epoch_says_where(clock):
    run = Run(clock)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda engine: stop(engine, "time is up"))
    assert run(range(3), max_epochs=9)[1:] == ["epoch 2/9 · batch 1/3 · loss 0.25 · lr 1.00e-03 · 0.5 it/s"]


def test_v26_a_bar_is_never_full_that_was_stopped_early(clock, monkeypatch):
    shown = []

    class Recorded(progress.Bar):
        def stop(self):
            shown.extend((task.completed, task.total) for task in self.tasks)
            super().stop()

    monkeypatch.setattr(progress, "Bar", Recorded)
    run = Run(clock, terminal=True)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda engine: stop(engine, "time is up"))
    run(range(3), max_epochs=9)
    assert shown == [(4, 27)]


def test_data_of_unknown_length(clock):
    assert Run(clock, every_seconds=4.0)(iter(range(5)), max_epochs=1) == [
        "epoch 1/1 · iteration 2 · loss 0.5 · lr 1.00e-03 · 0.5 it/s",
        "epoch 1/1 · iteration 4 · loss 0.25 · lr 1.00e-03 · 0.5 it/s",
        "epoch 1/1 · loss 0.25 · val/loss 0.25 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 0 s left",  # now it is known
    ]


def test_a_run_counted_in_iterations(clock):
    assert Run(clock, every_seconds=8.0)(range(3), max_iters=5) == [
        "epoch 1 · loss 0.25 · val/loss 0.25 · val/epe 2 · lr 1.00e-03 · 0.5 it/s · 4 s left",
        "epoch 2 · iteration 5/5 · loss 0.2 · lr 1.00e-03 · 0.5 it/s",
    ]


@pytest.mark.parametrize("keywords", [{"max_epochs": 2}, {"max_iters": 5}])
def test_on_a_terminal_a_bar_is_drawn_and_taken_away(clock, keywords):
    run = Run(clock, terminal=True)
    run(range(3), **keywords)
    text = run.stream.getvalue()
    assert "\x1b[?25l" in text and text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor comes back
    assert "epoch 2" in text
    assert run.progress._bar is None


def test_on_a_terminal_data_of_unknown_length_has_a_bar_too(clock):
    run = Run(clock, terminal=True)
    run(iter(range(4)))
    assert "iteration 4" in run.stream.getvalue()


def test_a_run_that_starts_again_starts_its_count_again(clock):
    run = Run(clock)
    run(range(3))
    clock.sleep(5000.0)  # in between, somebody thought about it
    run.trainer.state.max_epochs = None
    run.trainer.run(range(3))
    assert run.lines[0] == run.lines[1]


def test_a_failure_goes_on_its_way_and_the_bar_is_gone():
    trainer = Engine(lambda engine, batch: 1 / 0)
    handler = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    handler.attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([1])
    assert handler._bar is None


def test_only_process_0_shows_anything(clock, monkeypatch):
    monkeypatch.setattr(progress, "distributed", SimpleNamespace(rank=lambda: 1))
    assert Run(clock)(range(3)) == []

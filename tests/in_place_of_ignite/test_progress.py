import sys
from io import StringIO
from types import SimpleNamespace

import ignite.handlers
import pytest
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import Progress as Bar

from ignition.handlers import Progress


def ours(trainer):
    Progress(console=Console(file=StringIO(), force_terminal=True)).attach(trainer)


def ignites(trainer):
    """A bar of epochs, to the end of the run."""
    ignite.handlers.ProgressBar().attach(
        trainer, event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED
    )


@pytest.mark.in_place_of("V26", ours, ignites, there="requires tqdm", raises=ModuleNotFoundError)
def test_it_needs_no_tqdm(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.autonotebook", None)
    trainer = Engine(lambda engine, batch: None)
    make(trainer)
    assert trainer.run([0] * 3, max_epochs=2).epoch == 2


class Tqdm:
    """Stands for tqdm's bar, which need not be installed: what it shows when it is closed."""

    def __init__(self, closed, total, initial):
        self.closed, self.total, self.n = closed, total, initial

    def update(self, more):
        self.n += more

    def set_description(self, text):
        pass

    def close(self):
        self.closed.append(self.n / self.total)


@pytest.mark.in_place_of("V26", ours, ignites, there=r"assert 1.0 <= 0.3")
def test_a_run_that_was_stopped_early_is_not_shown_as_complete(make, monkeypatch):
    closed = []
    autonotebook = SimpleNamespace(tqdm=lambda total, initial, **settings: Tqdm(closed, total, initial))
    monkeypatch.setitem(sys.modules, "tqdm.autonotebook", autonotebook)
    stop = Bar.stop
    monkeypatch.setattr(Bar, "stop", lambda bar: (closed.append(bar.tasks[0].percentage / 100), stop(bar)))
    trainer = Engine(lambda engine, batch: None)
    make(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=3), lambda engine: engine.terminate())
    trainer.run([0] * 5, max_epochs=10)
    assert closed[0] <= 0.3

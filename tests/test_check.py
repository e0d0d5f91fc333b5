"""What ``--check`` prints of the learning rate, wherever it prints it."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from ignition.check import _in_words, _print_rates
from ignition.config import load_config
from ignition.handlers import LearningRate
from ignition.scheduling import schedule_of


def printed(encoding, *overrides, **terminal):
    """The output of a check of 4 epochs of 10 batches, two to a step, in a terminal of 40 columns or through a pipe."""
    config = load_config(None, overrides=["trainer.epochs=4", "trainer.accumulate=2", *overrides])
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2)
    training = SimpleNamespace(
        config=config,
        data=SimpleNamespace(loader=range(10)),
        learning_rate=LearningRate(optimizer, schedule_of(config, epoch_steps=5)),
    )
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    _print_rates(Console(file=file, **terminal), training)
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("encoding", "dots"), [("utf-8", "⢸"), ("ascii", "|"), ("latin-1", "|")])
def test_the_rates_are_drawn_in_what_the_output_can_hold(encoding, dots):
    lines = printed(encoding, "schedule={name: step, milestones: [2, 3], factor: 0.5}")
    assert lines[0] == "learning rate: highest 0.2 at epoch 0, last 0.05"
    assert lines[1].startswith("0.2 ")
    assert any(dots in line[6:] for line in lines[2:9])
    assert lines[-1].split() == ["0", "1", "2", "3", "4", "epochs"]
    assert max(map(len, lines)) <= 80


def test_a_plateau_says_what_it_waits_for_and_a_narrow_terminal_breaks_nothing():
    lines = printed("utf-8", "schedule={name: plateau, metric: val/epe}", width=40, force_terminal=True)
    assert lines[-1] == "lowered where val/epe stands still"
    assert len(lines) == 1 + 9 + 2 + 1


def test_a_recipe_may_describe_its_data_in_words():
    class Talkative:
        def describe(self, dataset):
            return [f"{len(dataset)} pictures, none of them empty"]

    assert _in_words(SimpleNamespace(recipe=Talkative()), [1, 2]) == ["2 pictures, none of them empty"]
    assert _in_words(SimpleNamespace(recipe=object()), [1, 2]) == []

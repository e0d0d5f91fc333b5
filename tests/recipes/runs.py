"""What a run has written down, and one that was taken up beside one that was not."""

import json
from pathlib import Path

import torch

from ignition.run import main


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def values(run, name):
    """The values of one column, where a row has it."""
    return [row[name] for row in rows(run) if name in row]


def weights(run):
    return torch.load(Path(run) / "checkpoints" / "last.pt", weights_only=True)["model"]


def assert_resumed_is_whole(recipe, words):
    """Two epochs in a run, or one and another after it was taken up: the same weights and losses, bit for bit."""
    assert main([recipe, *words, "trainer.epochs=2", "--output", "whole"]) == 0
    assert main([recipe, *words, "trainer.epochs=1", "--output", "parts"]) == 0
    assert main([recipe, "--resume", "parts", "trainer.epochs=2"]) == 0
    whole, parts = weights("whole"), weights("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert values("whole", "val/loss") == values("parts", "val/loss")

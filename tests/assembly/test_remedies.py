"""What a rollback goes back to."""

import logging

import pytest
import torch
from torch import nn

from ignition import assembly
from ignition.assembly import host_memory
from ignition.config import load_config
from ignition.handlers import EMA, Constant, LearningRate


@pytest.fixture
def parts():
    model = nn.Linear(100, 10, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    return {"model": model, "optimizer": optimizer}, LearningRate(optimizer, Constant())


def recovery(parts, *overrides):
    objects, rate = parts
    return assembly.recovery_of(load_config(None, overrides=[*overrides]), objects, rate, lambda engine, done: None)


def meminfo(monkeypatch, tmp_path, available):
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:       99 kB\nMemAvailable:   {available} kB\n")
    monkeypatch.setattr(host_memory, "MEMINFO", path)


def test_snapshots_are_as_old_as_findings_can_be_late(parts):
    assert recovery(parts).every == 50  # as `logging.every`
    assert recovery(parts, "logging.every=10").every == 25
    assert recovery(parts, "logging.every=400").every == 400
    assert recovery(parts, "logging.every=400", "stability.snapshot_every=200").every == 200


@pytest.mark.parametrize("setting", ["stability.watch=false", "stability.on={divergence: tell}"])
def test_where_no_finding_leads_back_there_are_none(parts, setting):
    assert recovery(parts, setting) is None


def test_snapshots_that_would_take_more_than_half_of_the_free_memory_are_left_to_checkpoints(
    parts, monkeypatch, tmp_path, caplog
):
    # 1000 weights and two moments of each, 4 bytes each, three times: 36000 bytes
    meminfo(monkeypatch, tmp_path, available=72)
    assert recovery(parts) is not None
    meminfo(monkeypatch, tmp_path, available=69)
    with caplog.at_level(logging.WARNING):
        assert recovery(parts) is None
    assert "a rollback goes back to the last checkpoint" in caplog.text


def test_an_average_counts_as_weights_do(parts):
    objects, _ = parts
    assert host_memory.states_size(objects) == 12_000
    assert host_memory.states_size({**objects, "ema": EMA(objects["model"])}) == 16_000


def test_where_the_system_does_not_say_snapshots_are_taken(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "MEMINFO", tmp_path / "none")
    assert host_memory.available() is None and recovery(parts) is not None

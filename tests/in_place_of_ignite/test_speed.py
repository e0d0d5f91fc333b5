import ignite.handlers
import pytest
import torch
from ignite.engine import Engine

from ignition.handlers import Throughput


class Device:
    """A clock, and a device with a queue: 1 ms of a step is spent on the host, and 10 ms wait to be done there."""

    def __init__(self):
        self.now = self.queued = 0.0

    def step(self, engine, batch):
        self.now, self.queued = self.now + 0.001, self.queued + 0.010

    def synchronize(self):
        self.now, self.queued = self.now + self.queued, 0.0


@pytest.fixture
def device(monkeypatch):
    device = Device()
    for module in ("ignition.handlers.throughput", "ignite.handlers.timing"):
        monkeypatch.setattr(f"{module}.perf_counter", lambda: device.now)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", device.synchronize)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    return device


def ours(trainer):
    """Milliseconds of an iteration, to be asked for after the run."""
    throughput = Throughput(lambda row: None, every=5, warmup=0)
    throughput.attach(trainer)
    return lambda: 1000 / throughput.last["train/samples_per_second"]


def ignites(trainer):
    profiler = ignite.handlers.BasicTimeProfiler()
    profiler.attach(trainer)
    return lambda: 1000 * profiler.get_results()["processing_stats"]["mean"]


@pytest.mark.in_place_of("V27", ours, ignites, there="assert 1.0 == 11.0")
def test_work_that_waits_on_the_device_counts(make, device):
    trainer = Engine(device.step)
    milliseconds = make(trainer)
    trainer.run(torch.ones(20, 1, 1))
    assert round(milliseconds(), 6) == 11.0

import json
import math
import resource
from itertools import chain, repeat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from ignition.engine import StepOutput
from ignition.handlers import Throughput, throughput


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "perf_counter", clock)
    return clock


class Data:
    """Batches of four samples that take a while to come."""

    def __init__(self, clock, waits):
        self.clock, self.waits = clock, waits

    def __len__(self):
        return len(self.waits)

    def __iter__(self):
        for wait in self.waits:
            self.clock.sleep(wait)
            yield torch.zeros(4, 2)


def training(clock, seconds, rows, **settings):
    """An engine whose iterations take ``seconds``, one after another."""
    script = iter(seconds)
    trainer = Engine(lambda engine, batch: clock.sleep(next(script)))
    handler = Throughput(rows.append, **settings)
    handler.attach(trainer)
    return trainer, handler


def speeds(rows):
    """Each row's iteration, samples a second and share of waiting, rounded."""
    return [
        (row["iteration"], round(row["train/samples_per_second"], 6), round(row["train/data_wait_share"], 6))
        for row in rows
    ]


def test_a_row_says_how_fast_and_what_for(clock):
    rows = []
    trainer, handler = training(clock, [0.4, 0.4, 0.4, 0.7] * 2, rows, every=4, warmup=0)
    trainer.run(Data(clock, [0.1, 0.1, 0.1, 0.3] * 2))
    first, second = rows
    memory = first.pop("train/memory_gib")
    assert first == {
        "iteration": 4,
        "epoch": 1,
        "train/samples_per_second": pytest.approx(16 / 2.5),
        "train/data_wait_share": pytest.approx(0.6 / 2.5),
        "train/step_ms_p50": pytest.approx(500),  # 500, 500, 500, 1000
        "train/step_ms_p95": pytest.approx(1000),
    }
    assert memory == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, rel=0.1)
    assert handler.last is second and second["iteration"] == 8


def test_evaluating_and_saving_is_no_training(clock):
    rows = []
    trainer, _ = training(clock, repeat(1.0), rows, every=3, warmup=0)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: clock.sleep(7.0))  # attached later: a save
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: clock.sleep(50.0))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: clock.sleep(1000.0))
    trainer.run(Data(clock, [1.0, 1.0]), max_epochs=3)  # epochs of two iterations, rows of three
    assert speeds(rows) == [(3, 2.0, 0.5), (6, 2.0, 0.5)]


def test_the_log_that_is_attached_before_counts_as_training(clock):
    rows = []
    trainer = Engine(lambda engine, batch: clock.sleep(1.0))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: clock.sleep(1.0))
    Throughput(rows.append, every=2, warmup=0).attach(trainer)
    trainer.run(Data(clock, [0.0, 0.0]))
    assert speeds(rows) == [(2, 2.0, 0.0)]


def test_the_first_iterations_are_left_out(clock):
    rows = []
    trainer, _ = training(clock, [60.0, 20.0, *repeat(1.0, 6)], rows, every=4, warmup=2)  # it compiles
    trainer.run(Data(clock, [0.0] * 8))
    assert speeds(rows) == [(4, 4.0, 0.0), (8, 4.0, 0.0)]
    assert [row["train/step_ms_p95"] for row in rows] == [1000, 1000]


def test_a_resumed_run_counts_nothing_twice(clock):
    rows = []
    trainer, _ = training(clock, chain([1.0] * 5, [60.0], [2.0] * 6, repeat(3.0)), rows, every=4, warmup=1)

    def leave(engine):
        engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), leave)
    trainer.run(Data(clock, [0.0] * 12))
    assert speeds(rows) == [(4, 4.0, 0.0)]
    clock.sleep(5000)

    # The fifth iteration belongs to no row; the sixth compiles anew, and the row at 8 has but the last two of four.
    other = Engine(trainer._process_function)
    again = Throughput(rows.append, every=4, warmup=1)
    again.attach(other)
    other.load_state_dict({"iteration": 5, "epoch_length": 12, "max_epochs": 1})
    other.run(Data(clock, [0.0] * 12))
    assert speeds(rows[1:]) == [(8, 2.0, 0.0), (12, 2.0, 0.0)]

    # In the same process as well: what was open when the run ended is not a part of the next one.
    rows.clear()
    trainer.run(Data(clock, [0.0] * 12))
    assert speeds(rows) == [(4, 1.333333, 0.0)]  # the first of four warms up; at the fifth it is ended again


def test_a_run_shorter_than_a_row_has_one_all_the_same(clock):
    rows = []
    trainer, _ = training(clock, repeat(0.5), rows, every=50, warmup=1)
    trainer.run(Data(clock, [0.0] * 5), max_epochs=2)
    assert speeds(rows) == [(10, 8.0, 0.0)] and rows[0]["epoch"] == 2
    rows.clear()
    trainer, _ = training(clock, repeat(0.5), rows, every=4, warmup=0)
    trainer.run(Data(clock, [0.0] * 5))
    assert [row["iteration"] for row in rows] == [4]  # a single iteration more makes no row of its own
    rows.clear()
    trainer, _ = training(clock, repeat(0.5), rows, every=50, warmup=10)
    trainer.run(Data(clock, [0.0] * 5))
    assert rows == []  # nothing but warming up


def test_a_failure_half_way_writes_no_row_of_it(clock):
    rows = []
    trainer, _ = training(clock, [1.0, 1.0], rows, every=3, warmup=0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        trainer.run(Data(clock, [0.0] * 3))
    assert rows == []


def test_samples_are_those_that_the_step_tells(clock):
    """Whatever the batch looks like, and also where a loss is not finite."""
    rows = []

    def step(engine, batch):
        clock.sleep(2.0)
        return StepOutput(torch.tensor(math.nan), {}, 16)

    trainer = Engine(step)
    Throughput(rows.append, every=1, warmup=0).attach(trainer)
    trainer.run([["a", "b"]])
    assert speeds(rows) == [(1, 8.0, 0.0)]


def test_an_engine_without_data_never_waits(clock):
    rows = []
    trainer, _ = training(clock, repeat(0.5), rows, every=2, warmup=0)
    trainer.run(epoch_length=2, max_epochs=2)
    assert [(row["train/step_ms_p50"], row["train/data_wait_share"]) for row in rows] == [(500, 0.0)] * 2


def test_data_of_unknown_length(clock):
    rows = []
    trainer, _ = training(clock, repeat(0.5), rows, every=3, warmup=0)
    trainer.run(iter(Data(clock, [0.5] * 7)), max_epochs=1)
    assert speeds(rows) == [(3, 4.0, 0.5), (6, 4.0, 0.5)]


def test_share_of_the_devices_peak(clock):
    rows = []
    trainer, _ = training(clock, repeat(0.5), rows, every=2, warmup=0, flops_per_sample=3e9, peak_flops=1e11)
    trainer.run(Data(clock, [0.0, 0.0]))
    assert rows[0]["train/mfu"] == pytest.approx(8 * 3e9 / 1e11)


def test_v27_queued_work_of_a_device_is_waited_for_at_rows_and_epoch_ends_alone(clock, monkeypatch):
    """A step queues a second of work and returns at once; who does not wait takes the queue for infinitely fast."""
    queued, waits, rows = [], [], []

    def synchronize():
        waits.append(trainer.state.iteration)
        clock.sleep(sum(queued))
        queued.clear()

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    trainer = Engine(lambda engine, batch: queued.append(1.0))
    Throughput(rows.append, every=4, warmup=1).attach(trainer)

    def evaluate(engine):
        assert not queued  # or the evaluation would wait for it, and the training would have been free
        clock.sleep(100.0)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, evaluate)
    trainer.run(Data(clock, [0.0] * 6), max_epochs=2)
    assert waits == [1, 4, 6, 8, 12]
    assert speeds(rows) == [(4, 4.0, 0.0), (8, 4.0, 0.0), (12, 4.0, 0.0)]
    assert rows[0]["train/memory_gib"] == 3.0


def test_in_a_plain_loop(clock):
    rows = []
    handler = Throughput(rows.append, every=3, warmup=0)
    for _ in range(2):
        for _batch in handler.over(Data(clock, [0.25] * 3)):
            clock.sleep(0.75)
        clock.sleep(1000.0)  # evaluates
    assert speeds(rows) == [(3, 4.0, 0.25), (6, 4.0, 0.25)]
    assert [row["epoch"] for row in rows] == [1, 2]
    for _batch in handler.over(Data(clock, [0.25] * 3)):
        break  # left in the middle: that iteration was not finished
    assert handler._seconds == []


@given(st.lists(st.floats(0.001, 10.0), min_size=1, max_size=60), st.integers(1, 7), st.integers(0, 5))
def test_rows_account_for_every_iteration_but_the_first_ones(seconds, every, warmup):
    clock, rows = Clock(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "perf_counter", clock)
        trainer, _ = training(clock, seconds, rows, every=every, warmup=warmup)
        trainer.run(Data(clock, [0.0] * len(seconds)))
    last = len(seconds) - len(seconds) % every if rows and rows[-1]["iteration"] % every == 0 else len(seconds)
    counted = seconds[warmup:last]
    expected = {}
    for iteration, value in enumerate(counted, start=warmup + 1):
        expected.setdefault(min(-(-iteration // every) * every, last), []).append(value)
    assert [row["iteration"] for row in rows] == list(expected)
    for row, steps in zip(rows, expected.values(), strict=True):
        assert row["train/samples_per_second"] == pytest.approx(4 * len(steps) / sum(steps), rel=1e-6)
        assert min(steps) * 999.99 <= row["train/step_ms_p50"] <= row["train/step_ms_p95"] <= max(steps) * 1000.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every is 0; it counts iterations"),
        ({"warmup": -1}, "warmup is -1; it counts iterations"),
        ({"flops_per_sample": 1e9}, "flops_per_sample is 1000000000.0 and peak_flops is None; give both, or neither"),
        ({"flops_per_sample": 1e9, "peak_flops": 0.0}, "peak_flops is 0.0; it must be a number above 0"),
        ({"flops_per_sample": math.nan, "peak_flops": 1e9}, "flops_per_sample is nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Throughput(print, **settings)


PROGRAM = """
import json
import torch
from ignite.engine import Engine
from ignition import distributed
from ignition.handlers import Throughput, throughput

now = [100.0]
throughput.perf_counter = lambda: now[0]

with distributed.process_group("cpu"):
    slow = distributed.rank() + 1
    def step(engine, batch):
        now[0] += slow
    class Data:
        def __len__(self):
            return 2
        def __iter__(self):
            for size in (4, 2):
                now[0] += slow
                yield torch.zeros(size + distributed.rank(), 1)
    rows = []
    trainer = Engine(step)
    handler = Throughput(rows.append, every=2, warmup=0)
    handler.attach(trainer)
    trainer.run(Data())
    print(json.dumps([len(rows), handler.last["train/samples_per_second"], handler.last["train/data_wait_share"]]))
"""


def test_samples_of_all_processes_at_the_pace_of_the_slowest(two_processes):
    one, other = map(json.loads, two_processes(PROGRAM))
    assert one == [1, (6 + 8) / 8.0, 0.5]  # the slow one needs 8 seconds
    assert other == [0, *one[1:]]  # process 0 writes

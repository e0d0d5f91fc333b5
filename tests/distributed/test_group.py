"""Processes that come to one decision."""

import re

from ignition import distributed

PROGRAM = """
import logging
import sys
from types import SimpleNamespace

import torch
from torch import nn

from ignition import distributed as d
from ignition.assembly import AssemblyError, build_splits
from ignition.engine import build_trainer
from ignition.recipe import Splits

logging.basicConfig(stream=sys.stdout)
with d.process_group("cpu", timeout_seconds=30):
    rank = d.rank()
    assert d.world_size() == 2 and d.local_rank() == rank
    assert d.agree(7 if rank == 1 else 2) == 7
    assert d.total(0.5 + rank) == 2.0
    assert d.totals([1.0, float(rank)]) == [2.0, 1.0]
    assert d.gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    assert d.from_first(f"value of {rank}") == "value of 0"

    norm = nn.BatchNorm1d(2)
    norm.running_mean += rank
    norm.num_batches_tracked += 5 * (1 - rank)
    d.share_buffers(norm)
    assert norm.running_mean.tolist() == [0.0, 0.0] and int(norm.num_batches_tracked) == 5

    # one process has nine batches, the other six, of which each epoch takes six
    model = nn.parallel.DistributedDataParallel(nn.Linear(1, 1))
    trainer = build_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.01), lambda model, batch, progress: {"x": model(batch).mean()}
    )
    assert trainer.run([torch.ones(2, 1)] * (9 if rank == 0 else 6), max_epochs=2).iteration == 12

    different = SimpleNamespace(datasets=lambda: Splits(train=[1] * (8 + rank), val=[1]))
    try:
        build_splits(different)
    except AssemblyError as error:
        assert "data.train: processes see different numbers of samples (8 on process 0, 9 on process 1)" in str(error)
    else:
        raise AssertionError("they do not see the same data")
assert d.world_size() == 1
print(f"process {rank} fine")
"""


def test_two_processes_agree(two_processes):
    first, second = two_processes(PROGRAM)
    assert "unequal numbers of batches: process 0 has 9, process 1 has 6. All end an epoch after 6" in first
    assert first.endswith("process 0 fine\n")
    assert second.endswith("process 1 fine\n")


# The second process does not answer, in one of three ways.
SILENT = """
import os, signal, sys, time
from ignition import distributed as d

def reads_for_ever():
    time.sleep(60)

try:
    with d.process_group("cpu", timeout_seconds=3):
        pids = d.gather(os.getpid())
        if d.rank() == 1:
            signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
            {how}
        else:
            d.agree(1)
except d.ProcessLost as error:
    print(error, flush=True)
    if d.rank() == 0:
        os.kill(pids[1], signal.SIGCONT)
        os.kill(pids[1], signal.SIGUSR1)
"""


def silent(two_processes, how):
    return two_processes(SILENT.replace("{how}", how))[0]


def test_a_process_that_hangs_is_named_and_where_it_is(two_processes):
    said = silent(two_processes, "reads_for_ever()")
    place = r"process 1 \(pid \d+ on \S+\) is in reads_for_ever \(\S*program.py, line 6\)"
    assert re.match(f"no answer within the time limit: {place} \\(.*[Tt]imed out", said), said


def test_a_process_that_is_stopped_is_named(two_processes):
    said = silent(two_processes, "os.kill(os.getpid(), signal.SIGSTOP)")
    assert "process 1 does not even tell where it is: it is stopped, or busy in native code" in said


def test_processes_that_wait_for_each_other_are_told_where(two_processes):
    said = silent(two_processes, "import torch.distributed as dist; dist.barrier()")
    one, other = (rf"process {rank} \(pid \d+ on \S+\) is in <module> \(\S*program.py, line \d+\)" for rank in (0, 1))
    assert re.search(f"processes wait for each other, so they do not do the same: {one}; {other}", said), said


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group("cpu"):
        assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
        assert distributed.gather(3) == [3]


def test_an_error_that_is_no_other_process_s_fault_stays_what_it_is():
    error = RuntimeError("[gloo] Connection closed by peer")
    assert distributed.cause_of(error) is error  # there is no other process

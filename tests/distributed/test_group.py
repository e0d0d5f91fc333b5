"""Processes that come to one decision."""

import os
import subprocess
import sys
from pathlib import Path

from ignition import distributed

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from types import SimpleNamespace

import torch
from torch import nn

from ignition import distributed as d
from ignition.assembly import AssemblyError, build_splits
from ignition.engine import build_trainer
from ignition.recipe import Splits

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


def test_two_processes_agree(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert all(f"process {rank} fine" in done.stdout for rank in (0, 1))
    assert "unequal numbers of batches: process 0 has 9, process 1 has 6. All end an epoch after 6" in done.stderr


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group("cpu"):
        assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
        assert distributed.gather(3) == [3]


def test_an_error_that_is_no_other_process_s_fault_stays_what_it_is():
    error = RuntimeError("[gloo] Connection closed by peer")
    assert distributed.cause_of(error) is error  # there is no other process

"""Processes that come to one decision."""

import os
import subprocess
import sys
from pathlib import Path

from ignition import distributed

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
from ignition import distributed as d
with d.process_group("cpu", timeout_seconds=30):
    rank = d.rank()
    assert d.world_size() == 2 and d.local_rank() == rank
    assert d.agree(7 if rank == 1 else 2) == 7
    assert d.total(0.5 + rank) == 2.0
    assert d.totals([1.0, float(rank)]) == [2.0, 1.0]
    assert d.gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    assert d.from_first(f"value of {rank}") == "value of 0"
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


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group("cpu"):
        assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
        assert distributed.gather(3) == [3]

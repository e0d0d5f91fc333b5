import builtins
import errno
import json
import logging
import math
import os
import signal

import numpy as np
import pytest
import torch

from ignition.rundir import Rows, rows


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_a_row_is_a_line_with_the_time(log_file):
    Rows(log_file).write({"iteration": 3, "train/loss": 0.25})
    (row,) = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert list(row) == ["time", "iteration", "train/loss"]
    assert (row["iteration"], row["train/loss"]) == (3, 0.25) and row["time"] > 1.7e9


def test_numbers_that_json_does_not_have_are_strings_and_come_back(log_file):
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": [math.nan, 1.0], "e": {"f": math.inf}}
    Rows(log_file).write(values)
    plain = json.loads(log_file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [plain[key] for key in "abc"] == ["NaN", "Infinity", "-Infinity"]
    assert plain["d"] == ["NaN", 1.0] and plain["e"] == {"f": "Infinity"}
    (row,) = Rows(log_file).read()
    assert math.isnan(row["a"]) and (row["b"], row["c"]) == (math.inf, -math.inf)
    assert math.isnan(row["d"][0]) and row["e"]["f"] == math.inf


def test_tensors_and_numpy_numbers_are_numbers(log_file):
    Rows(log_file).write({"a": torch.tensor(0.5), "b": np.float32(0.25), "c": np.int64(3), "d": torch.tensor(math.nan)})
    (row,) = Rows(log_file).read()
    assert (row["a"], row["b"], row["c"]) == (0.5, 0.25, 3) and math.isnan(row["d"])


def test_what_is_no_number_is_refused(log_file):
    with pytest.raises(TypeError, match="not object"):
        Rows(log_file).write({"a": object()})


@pytest.mark.parametrize("torn", [b'{"iteration": 2, "lo', b"\x00\x00\x00", b"\xff\xfe{", b"[1, 2]\n", b"\n", b"12\n"])
def test_a_torn_line_is_passed_over_and_nothing_is_glued_to_it(log_file, torn):
    log_file.write_bytes(b'{"iteration": 1}\n' + torn)
    Rows(log_file).write({"iteration": 2})
    assert [row["iteration"] for row in Rows(log_file).read()] == [1, 2]


def test_no_file_has_no_rows(log_file):
    assert Rows(log_file).read() == []
    Rows(log_file).rewind(3)
    assert not log_file.exists()


def test_rewind_takes_away_later_rows_and_torn_ones(log_file):
    written = Rows(log_file)
    for iteration in range(5):
        written.write({"iteration": iteration})
    written.write({"note": "of no iteration"})
    with open(log_file, "ab") as file:
        file.write(b'{"iteration": 1, "torn')
    before = log_file.read_bytes().splitlines(keepends=True)
    written.rewind(2)
    assert log_file.read_bytes() == b"".join(before[:3] + before[5:6])  # not a byte of the others has changed
    written.write({"iteration": 3})
    assert [row.get("iteration") for row in written.read()] == [0, 1, 2, None, 3]
    assert os.listdir(log_file.parent) == [log_file.name]
    written.rewind(-1)
    assert [row.get("iteration") for row in written.read()] == [None]


def test_a_whole_last_row_without_its_newline_is_kept(log_file):
    log_file.write_bytes(b'{"iteration": 1}\n{"iteration": 2}')
    Rows(log_file).rewind(5)
    assert log_file.read_bytes() == b'{"iteration": 1}\n{"iteration": 2}\n'


class FullDisk:
    """A file on a disk that takes so many bytes more, then none."""

    def __init__(self, path, mode, buffering):
        assert (mode, buffering) == ("ab", 0)
        self.file, self.room = builtins.open(path, mode, buffering), 10**9  # noqa: SIM115

    def fileno(self):
        return self.file.fileno()

    def write(self, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def close(self):
        self.file.close()


def test_a_full_disk_warns_once_and_the_gap_is_marked(log_file, monkeypatch, caplog):
    opened = lambda path, mode, **options: (FullDisk if mode == "ab" else open)(path, mode, **options)  # noqa: E731
    monkeypatch.setattr(rows, "open", opened, raising=False)
    written = Rows(log_file)
    written.write({"iteration": 1})
    written._file.room = 7  # half of the next row gets onto the disk
    with caplog.at_level(logging.WARNING):
        for iteration in (2, 3, 4):
            written.write({"iteration": iteration})
    assert len(caplog.records) == 1 and "No space left" in caplog.text and str(log_file) in caplog.text
    written._file.room = 10**9
    written.write({"iteration": 5})
    written.write({"iteration": 6})
    assert [(row["iteration"], row.get("rows_lost")) for row in written.read()] == [(1, None), (5, 3), (6, None)]


def test_what_was_written_survives_a_kill(log_file):
    child = os.fork()
    if child == 0:
        written = Rows(log_file)
        for iteration in range(100):
            written.write({"iteration": iteration})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(Rows(log_file).read()) == 100


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_kill_while_rewinding_leaves_the_old_rows_or_the_new(log_file, moment):
    written = Rows(log_file)
    for iteration in range(5):
        written.write({"iteration": iteration})
    child = os.fork()
    if child == 0:
        die = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        if moment == "write":
            rows._later = die
        else:
            setattr(os, moment, die)
        written.rewind(2)
    os.waitpid(child, 0)
    assert [row["iteration"] for row in Rows(log_file).read()] == [0, 1, 2, 3, 4]


def test_the_tail_is_read_from_the_end(log_file):
    log_rows = Rows(log_file)
    assert log_rows.tail(3) == []
    for iteration in range(1, 3001):
        log_rows.write({"iteration": iteration, "loss": math.inf if iteration == 2999 else 1.0})
    assert log_file.stat().st_size > 2 * 2**16
    assert [row["iteration"] for row in log_rows.tail(3)] == [2998, 2999, 3000]
    assert log_rows.tail(2)[0]["loss"] == math.inf
    assert [row["iteration"] for row in log_rows.tail(2000)] == list(range(1001, 3001))
    assert len(log_rows.tail(9999)) == 3000


def test_a_torn_last_row_is_none_of_the_tail(log_file):
    Rows(log_file).write({"iteration": 1})
    with open(log_file, "ab") as file:
        file.write(b'{"iteration": 2, "lo')
    assert [row["iteration"] for row in Rows(log_file).tail(5)] == [1]

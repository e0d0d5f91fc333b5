import json
import os

import pytest

from ignition.monitor.metrics import Metrics


def line(iteration, **numbers):
    row = {"time": 1e9 + iteration, "iteration": iteration, "epoch": 1, "train/batch_loss": 1.0 / (1 + iteration)}
    return json.dumps({**row, **numbers}).encode() + b"\n"


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.LARGE, metrics.SAMPLES, metrics.SAMPLE, metrics.END, metrics.BLOCK = 100_000, 20, 1000, 5000, 4000
    return metrics


def losses(metrics):
    return [(point.iteration, point.mean) for point in metrics.curves.points("train/batch_loss", 10**6)]


def test_a_long_log_gives_a_picture_at_once_and_then_all_of_it(metrics):
    path = metrics._file.path
    path.write_bytes(b"".join(line(i) for i in range(1, 4001)))
    assert metrics.update(0.0)
    first = losses(metrics)
    assert 200 < len(first) < 400
    assert first[-1] == (4000, 1 / 4001)
    assert metrics.share == 0.0
    assert metrics.rows == 0
    with path.open("ab") as file:
        file.write(line(4001))
    assert metrics.update(0.0)
    assert losses(metrics)[-1] == (4001, 1 / 4002)  # what is new is there while the beginning is being read
    assert 0 < metrics.share < 0.05
    while metrics.share < 1:
        assert metrics.update(0.0)
    assert losses(metrics) == [(i, 1 / (1 + i)) for i in range(1, 4002)]
    assert metrics.rows == 4001
    assert not metrics.update(0.0)


def test_all_at_once_where_there_is_time(metrics):
    path = metrics._file.path
    path.write_bytes(b"".join(line(i) for i in range(1, 2001)))
    metrics.update(None)
    assert (metrics.rows, metrics.share, len(losses(metrics))) == (2000, 1.0, 2000)


def test_only_what_is_new_is_read(metrics, monkeypatch):
    path = metrics._file.path
    path.write_bytes(b"".join(line(i) for i in range(1, 501)))
    metrics.update(None)
    read = []
    original = type(metrics._file)._bytes

    def spy(self, begin, size):
        block = original(self, begin, size)
        read.append(len(block))
        return block

    monkeypatch.setattr(type(metrics._file), "_bytes", spy)
    assert not metrics.update(None)
    assert read == []
    with path.open("ab") as file:
        file.write(line(501))
    assert metrics.update(None)
    assert sum(read) < len(line(501)) + 3 * 256  # the new line, and the marks by which the file is known again
    assert losses(metrics)[-1][0] == 501


def test_a_resumed_run_whose_log_was_cut_counts_nothing_twice(metrics):
    path = metrics._file.path
    path.write_bytes(b"".join(line(i, attempt=1) for i in range(1, 101)))
    metrics.update(None)
    shorter = path.with_name("new")
    shorter.write_bytes(b"".join(line(i, attempt=1) for i in range(1, 41)))
    os.replace(shorter, path)
    with path.open("ab") as file:
        file.write(b"".join(line(i, attempt=2) for i in range(41, 121)))
    metrics.update(None)
    attempts = metrics.curves.points("attempt")
    assert [(point.iteration, point.mean) for point in attempts] == [(i, 1 + (i > 40)) for i in range(1, 121)]
    assert metrics.rows == 120


def test_torn_and_glued_lines_are_counted_and_the_rest_is_read(metrics):
    path = metrics._file.path
    whole = line(2)
    path.write_bytes(line(1) + whole[:20] + line(3) + b"\n\x00\x00\x00\n" + line(4) + whole[:-1])
    metrics.update(None)
    assert [iteration for iteration, _ in losses(metrics)] == [1, 4]
    assert metrics.bad == 2
    with path.open("ab") as file:
        file.write(b"\n" + line(5))
    metrics.update(None)
    assert [iteration for iteration, _ in losses(metrics)] == [1, 2, 5]  # the run was taken up from iteration 1


def test_a_reader_gets_every_row_once_and_begins_anew_with_the_file(tmp_path):
    seen = []
    metrics = Metrics(tmp_path / "rows", reader=lambda rows: seen.extend(row["iteration"] for row in rows),
                      begin=seen.clear)  # fmt: skip
    path = metrics._file.path
    path.write_bytes(line(1) + line(2))
    metrics.update()
    with path.open("ab") as file:
        file.write(line(3))
    metrics.update()
    assert seen == [1, 2, 3]
    path.write_bytes(line(1))
    metrics.update()
    assert seen == [1]

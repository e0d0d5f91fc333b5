import math
import os
import struct
import subprocess
import sys

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from ignition.handlers import TensorBoard


def read(folder):
    """All records of the folder's event files in their order, checksums checked."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            size, check = struct.unpack("<QI", data[:12])
            assert masked_crc32c(data[:8]) == check
            assert masked_crc32c(data[12 : 12 + size]) == struct.unpack("<I", data[12 + size : 16 + size])[0]
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return events


def curves(folder):
    return {
        (value.tag, event.step): value.simple_value
        for event in read(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def test_every_number_of_a_row_is_a_scalar_at_its_iteration(tmp_path):
    board = TensorBoard(tmp_path / "new" / "run")
    board(
        {"time": 1000.5, "iteration": 7, "epoch": 2, "train/batch_loss": 0.5, "train/epoch": 2, "note": "x", "ok": True}
    )
    board({"iteration": 8, "epoch": 2, "val/epe": 1.25})
    board.close()
    assert curves(tmp_path / "new" / "run") == {
        ("train/batch_loss", 7): 0.5,
        ("train/epoch", 7): 2,
        ("val/epe", 8): 1.25,
    }
    first = read(tmp_path / "new" / "run")[1]
    assert first.wall_time == 1000.5


def test_numbers_that_are_not_finite_are_written_as_they_are(tmp_path):
    board = TensorBoard(tmp_path)
    board({"iteration": 1, "a": math.nan, "b": math.inf, "c": -math.inf})
    board.close()
    written = curves(tmp_path)
    assert math.isnan(written["a", 1])
    assert (written["b", 1], written["c", 1]) == (math.inf, -math.inf)


def test_the_first_row_can_be_seen_at_once(tmp_path):
    board = TensorBoard(tmp_path)
    board({"iteration": 1, "loss": 1.0})
    assert read(tmp_path)[0].file_version == "brain.Event:2"
    board({"iteration": 2, "loss": 2.0})
    assert curves(tmp_path) == {("loss", 1): 1.0}  # flushed every half a minute from here on
    board.close()
    assert curves(tmp_path) == {("loss", 1): 1.0, ("loss", 2): 2.0}


def test_a_resumed_run_hides_what_it_does_again_and_keeps_the_first_file(tmp_path):
    for purge_step, iterations in ((None, (1, 2, 3)), (2, (2, 3, 4))):
        board = TensorBoard(tmp_path, purge_step=purge_step)
        for iteration in iterations:
            board({"iteration": iteration, "loss": float(iteration)})
        board.close()
    assert len(list(tmp_path.glob("events.*"))) == 2
    events = read(tmp_path)
    assert [event.step for event in events if event.session_log.status == 1] == [2]
    assert [event.step for event in events if event.summary.value] == [1, 2, 3, 2, 3, 4]


def test_a_run_that_goes_on_from_an_earlier_iteration_hides_what_came_after_it(tmp_path):
    """Where it goes on is known when a checkpoint was read, which is after the file was made; or within a run."""
    first = TensorBoard(tmp_path)
    for iteration in range(1, 6):
        first({"iteration": iteration, "loss": 9.0})
    first.close()
    board = TensorBoard(tmp_path)
    board.rewind(3)
    board(
        {"iteration": 3, "val/loss": 0.5}
    )  # an evaluation that was due when the run stopped: nothing before is hidden
    for iteration in (4, 5):
        board({"iteration": iteration, "loss": 1.0})
    board.rewind(4)
    board({"iteration": 5, "loss": 0.0})
    board.close()
    seen = {}  # as TensorBoard reads: a start takes away what has its step or a later one
    for event in read(tmp_path):
        if event.session_log.status == 1:
            seen = {key: value for key, value in seen.items() if key[1] < event.step}
        seen.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
    assert [seen["loss", iteration] for iteration in range(1, 6)] == [9.0, 9.0, 9.0, 1.0, 0.0]
    assert seen["val/loss", 3] == 0.5


def test_a_picture_is_a_png_of_its_size(tmp_path):
    board = TensorBoard(tmp_path)
    picture = torch.zeros(3, 4, 6)
    picture[0] = 2.0  # too bright is as bright as can be
    picture[1, 0, 0] = math.nan
    board.image("val/disparity", picture, 3)
    board.close()
    (event,) = [event for event in read(tmp_path) if event.summary.value]
    image = event.summary.value[0].image
    assert (event.step, image.height, image.width) == (3, 4, 6)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"flow has shape \[2, 4, 6\]"):
        board.image("flow", torch.zeros(2, 4, 6), 3)


def test_a_failed_write_is_told_once_and_the_run_goes_on(tmp_path, caplog, monkeypatch):
    board = TensorBoard(tmp_path)
    board({"iteration": 1, "loss": 1.0})

    def full(data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board._records, "write", full)
    for iteration in range(2, 40):
        board({"iteration": iteration, "loss": 1.0})
    board.image("picture", torch.zeros(1, 2, 2), 40)
    board.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"TensorBoard stops at {tmp_path}, the run goes on: [Errno 28] No space left on device"
    ]
    assert curves(tmp_path) == {("loss", 1): 1.0}


def test_a_disk_that_is_really_full_neither_stops_nor_hangs_the_process(tmp_path):
    """The whole way down to the system call: the file is /dev/full. tensorboardX's own writer waits for ever."""
    program = f"""
import logging
from ignition.handlers import tensorboard
logging.basicConfig()
tensorboard.RecordWriter = lambda path, real=tensorboard.RecordWriter: real("/dev/full")
board = tensorboard.TensorBoard({str(tmp_path)!r})
for iteration in range(1000):
    board({{"iteration": iteration, "loss": 1.0}})
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert done.stderr.count("TensorBoard stops at") == 1
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_told(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    board = TensorBoard(tmp_path / "file" / "run")
    board({"iteration": 1, "loss": 1.0})
    assert "TensorBoard stops at" in caplog.text

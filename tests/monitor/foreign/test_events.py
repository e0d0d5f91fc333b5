import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.proto.tensor_pb2 import TensorProto

from ignition.monitor import open_run
from ignition.monitor.foreign.events import row_of
from ignition.monitor.foreign.records import checksums, split


def framed(record):
    def checked(data):
        crc = crc32c(data)
        return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    length = len(record).to_bytes(8, "little")
    return length + checked(length) + record + checked(record)


def event(step, **values):
    found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return framed(Event(wall_time=1e9 + step, step=step, summary=Summary(value=found)).SerializeToString())


def losses(run):
    return [(point.iteration, point.mean) for point in run.curves.points("train/batch_loss")]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "events.out.tfevents.1.host"


def test_checksums_are_those_of_the_libraries():
    rows = np.random.default_rng(0).integers(0, 256, (5, 37), np.uint8)
    for row, found in zip(rows, checksums(rows)):
        assert framed(row.tobytes())[-4:] == int(found).to_bytes(4, "little")


def test_damage_is_counted_and_the_rest_is_read(log):
    records = [event(step, loss=float(step)) for step in range(6)]
    broken = bytearray(records[1])
    broken[-10] ^= 1  # in the data
    length = bytearray(records[3])
    length[2] ^= 1
    log.write_bytes(records[0] + bytes(broken) + records[2] + bytes(length) + records[4] + b"garbage" + records[5])
    run = open_run(log)
    run.update(None)
    assert losses(run) == [(0, 0.0), (2, 2.0), (4, 4.0), (5, 5.0)]
    assert run.problems == [f"{log.name}: 3 rows could not be read"]


def test_a_record_that_is_half_written_is_waited_for(log):
    first, second = event(1, loss=1.0), event(2, loss=2.0)
    log.write_bytes(first + second[:20])
    run = open_run(log)
    run.update()
    assert losses(run) == [(1, 1.0)]
    log.write_bytes(first + second)
    run.update()
    assert losses(run) == [(1, 1.0), (2, 2.0)]
    assert run.problems == []


def test_a_long_record_is_passed_over_though_it_is_longer_than_a_block(log):
    picture = framed(b"\x00" * 1_000_000)
    log.write_bytes(event(1, loss=1.0) + picture + event(2, loss=2.0) + picture[:1000])
    run = open_run(log)
    run.update(None)
    assert losses(run) == [(1, 1.0), (2, 2.0)]
    assert run.problems == []


def test_each_flipped_bit_costs_no_more_than_its_record():
    block = b"".join(event(step, loss=float(step)) for step in range(4))
    for place in range(len(block)):
        damaged = bytearray(block)
        damaged[place] ^= 0x10
        records, _, _ = split(bytes(damaged))
        assert 3 <= len([row_of(record) for record in records]) <= 4 or place > 3 * len(block) // 4


def test_scalars_that_are_tensors():
    tensors = [TensorProto(dtype=1, float_val=[2.5]), TensorProto(dtype=2, tensor_content=np.float64(0.1).tobytes()),
               TensorProto(dtype=1, float_val=[1.0, 2.0]), TensorProto(dtype=7, string_val=[b"x"])]  # fmt: skip
    values = [Summary.Value(tag=str(number), tensor=tensor) for number, tensor in enumerate(tensors)]
    row = row_of(Event(step=3, wall_time=2.0, summary=Summary(value=values)).SerializeToString())
    assert row == {"iteration": 3, "time": 2.0, "0": 2.5, "1": 0.1}


def test_tags_that_count_differently_do_not_take_each_other_back(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(100):
            writer.add_scalar("train_loss", 1.0, step)
            if step % 10 == 9:
                writer.add_scalar("val_loss", 2.0, step // 10)
    run = open_run(tmp_path)
    run.update(None)
    assert len(losses(run)) == 100
    assert [point.iteration for point in run.curves.points("val/loss")] == list(range(10))

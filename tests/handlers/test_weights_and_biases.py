"""Curves in W&B: real runs in offline mode, read back from its own files; a pretended server's answers for the rest."""

import importlib
import json
import logging
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import wandb
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from PIL import Image
from wandb.proto import wandb_internal_pb2

from ignition import distributed
from ignition.handlers import MetricsLog, WandB, weights_and_biases

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def settings_of_nobody(monkeypatch, tmp_path):
    """No key, no server, no mode of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_ERROR_REPORTING"]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    yield
    assert "WANDB_SERVICE" not in os.environ, "a run was left open"


def records(folder):
    """What the runs in ``folder`` wrote, oldest first: a log of records in blocks of 32 KiB, as LevelDB's."""
    for path in sorted(folder.glob("wandb/*run-*/run-*.wandb")):
        data, at, whole = path.read_bytes(), 7, b""
        assert data[:4] == b":W&B"
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            whole, at = whole + data[at + 7 : at + 7 + size], at + 7 + size
            if kind in (1, 4):  # whole, or the last piece
                yield wandb_internal_pb2.Record.FromString(whole)
                whole = b""


def rows(folder):
    """The history: each row's own entries."""
    items = [[(item.key or item.nested_key[0], item.value_json) for item in record.history.item]
             for record in records(folder) if record.HasField("history")]  # fmt: skip
    return [{name: json.loads(value) for name, value in row if not name.startswith("_")} for row in items]


def column(rows, name):
    return [(row["iteration"], row[name]) for row in rows if name in row]


def test_every_number_of_a_row_is_in_the_run_at_its_iteration(tmp_path, capfd):
    threads = set(threading.enumerate())
    board = WandB("depth", folder=tmp_path, mode="offline", name="depth-001", config={"optimizer": {"lr": 0.1}})
    trainer = Engine(lambda engine, batch: batch)
    log = MetricsLog(board, every=2)
    log.attach(trainer)
    trainer.run([0.5, math.nan, math.inf], max_epochs=1)
    log.write({"iteration": 3, "epoch": 1, "val/epe": np.float32(0.25), "count": 2, "note": "x", "ok": True})
    board.close()
    written = rows(tmp_path)
    assert str(written[1].pop("train/batch_loss")) == "nan"
    assert written == [
        {"iteration": 1, "epoch": 1, "train/epoch": 1, "train/batch_loss": 0.5},
        {"iteration": 2, "epoch": 1, "train/epoch": 1},
        {"iteration": 3, "epoch": 1, "train/epoch": 1, "train/batch_loss": math.inf},
        {"iteration": 3, "epoch": 1, "train/epoch_avg_loss": pytest.approx(math.nan, nan_ok=True)},
        {"iteration": 3, "epoch": 1, "val/epe": 0.25, "count": 2},
    ]
    run = next(record.run for record in records(tmp_path) if record.HasField("run"))
    assert (run.project, run.display_name) == ("depth", "depth-001")
    assert {item.key: item.value_json for item in run.config.update}["optimizer"] == '{"lr":0.1}'
    (axis,) = [record.metric for record in records(tmp_path) if record.metric.glob_name == "*"]
    assert axis.step_metric == "iteration"
    assert capfd.readouterr() == ("", "")
    assert set(threading.enumerate()) == threads


def test_a_run_that_is_resumed_goes_on_in_the_same_run_and_repeats_nothing(tmp_path):
    first = WandB("p", folder=tmp_path, mode="offline")
    for iteration in range(1, 6):
        first({"iteration": iteration, "epoch": 1, "loss": float(iteration)})
    first({"iteration": 5, "epoch": 1, "train/epoch_avg_loss": 3.0})
    first.close()
    again = WandB("p", folder=tmp_path, mode="offline")  # from a checkpoint of iteration 3
    for iteration in range(4, 8):
        again({"iteration": iteration, "epoch": 1, "loss": float(iteration)})
        if iteration == 5:
            again({"iteration": 5, "epoch": 1, "train/epoch_avg_loss": 3.0})
            again({"iteration": 5, "epoch": 1, "val/loss": 0.5})  # was cut short by the stop: it is new
    again.close()
    assert first.run_id == again.run_id
    assert sorted(column(rows(tmp_path), "loss")) == [(i, float(i)) for i in range(1, 8)]
    assert column(rows(tmp_path), "train/epoch_avg_loss") == [(5, 3.0)]
    assert column(rows(tmp_path), "val/loss") == [(5, 0.5)]

    other = WandB("p", folder=tmp_path, run_id="another", mode="offline")
    other({"iteration": 1, "loss": 1.0})
    other.close()
    assert json.loads((tmp_path / "wandb-run.json").read_text().splitlines()[0]) == {
        "id": "another", "iteration": 1, "names": ["loss"]
    }  # fmt: skip


def test_a_run_that_is_killed_keeps_what_was_written_and_goes_on(tmp_path):
    program = f"""
import os, signal, sys
from ignition.handlers import WandB
board = WandB("p", folder={str(tmp_path)!r}, mode="offline")
for iteration in range(1, 101):
    board({{"iteration": iteration, "loss": float(iteration)}})
print("written", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "written\n"
    end = time.monotonic() + 30
    while len(rows(tmp_path)) < 100 and time.monotonic() < end:  # wandb writes once a second
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = WandB("p", folder=tmp_path, mode="offline")
    for iteration in range(90, 103):
        again({"iteration": iteration, "loss": float(iteration)})
    again.close()
    assert sorted(column(rows(tmp_path), "loss")) == [(i, float(i)) for i in range(1, 103)]


def test_a_picture_comes_with_its_iteration_and_after_earlier_rows(tmp_path):
    board = WandB("p", folder=tmp_path, mode="offline")
    picture = torch.zeros(3, 4, 6)
    picture[0] = 2.0  # too bright is as bright as can be
    picture[1, 0, 0] = math.nan
    board({"iteration": 1, "loss": 1.0})
    board.image("val/disparity", picture, 3)  # drawn before the rows of its iteration are brought down
    board.image("grey", torch.full((1, 2, 2), 0.5), 4)
    for iteration in (2, 3):
        board({"iteration": iteration, "loss": 1.0})
    with pytest.raises(ValueError, match=r"flow has shape \[2, 4, 6\]"):
        board.image("flow", torch.zeros(2, 4, 6), 3)
    board.close()
    assert [row["iteration"] for row in rows(tmp_path)] == [1, 2, 3, 3, 4]
    (drawn,) = tmp_path.glob("wandb/offline-run-*/files/media/images/val/disparity_*.png")
    image = Image.open(drawn)
    assert (image.size, image.mode, image.getpixel((0, 0))) == ((6, 4), "RGB", (255, 0, 0))
    (grey,) = tmp_path.glob("wandb/offline-run-*/files/media/images/grey_*.png")
    assert (Image.open(grey).mode, Image.open(grey).getpixel((0, 0))) == ("L", 128)


def test_environment_variables_hold_where_nothing_is_said(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "DIR": str(tmp_path / "elsewhere"), "PROJECT": "theirs"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    (tmp_path / "elsewhere").mkdir()
    board = WandB(folder=tmp_path / "run")
    board({"iteration": 1, "loss": 1.0})
    board.close()
    assert rows(tmp_path / "elsewhere") == [{"iteration": 1, "loss": 1.0}]
    assert next(r.run for r in records(tmp_path / "elsewhere") if r.HasField("run")).project == "theirs"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["wandb-run.json"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    board = WandB(folder=tmp_path / "run")
    board({"iteration": 2, "loss": 1.0})
    board.close()
    assert json.loads((tmp_path / "run" / "wandb-run.json").read_text())["iteration"] == 1


def test_runs_at_the_same_time_do_not_end_each_other(tmp_path):
    one, two = (WandB("p", folder=tmp_path / name, mode="offline") for name in ("one", "two"))
    one({"iteration": 1, "loss": 1.0})
    two({"iteration": 1, "loss": 2.0})
    one.close()
    two({"iteration": 2, "loss": 2.0})
    two.close()
    assert column(rows(tmp_path / "one"), "loss") == [(1, 1.0)]
    assert column(rows(tmp_path / "two"), "loss") == [(1, 2.0), (2, 2.0)]


def test_only_process_0_has_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    board = WandB("p", folder=tmp_path / "run", mode="offline")
    board({"iteration": 1, "loss": 1.0})
    board.image("picture", torch.zeros(1, 2, 2), 1)
    board.close()
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "No API key configured. Use `wandb login` to log in."),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "Failed to get resume status for run"),
    ],
)
def test_where_wandb_cannot_be_reached_that_is_told_once(tmp_path, monkeypatch, caplog, capfd, environment, reason):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    threads = set(threading.enumerate())
    board = WandB("p", folder=tmp_path, mode="online", timeout_seconds=1.0)
    for iteration in range(1, 50):
        board({"iteration": iteration, "loss": 1.0})
    board.image("picture", torch.zeros(1, 2, 2), 50)
    board.close()
    (told,) = [record for record in caplog.records if record.name.startswith("ignition")]
    assert told.levelno == logging.WARNING
    assert told.getMessage().startswith(f"Weights & Biases stops, the run goes on: {reason}")
    assert capfd.readouterr() == ("", "")
    assert set(threading.enumerate()) == threads


def test_when_its_process_dies_the_run_goes_on(tmp_path):
    """wandb hands rows to a process of its own; the operating system may end that one for its memory."""
    program = f"""
import logging, os, signal
from pathlib import Path
logging.basicConfig(format="%(message)s")
from ignition.handlers import WandB
board = WandB("p", folder={str(tmp_path)!r}, mode="offline")
board({{"iteration": 1, "loss": 1.0}})
while not (board.folder / "wandb-run.json").exists():  # it begins in its own time
    pass
children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
os.kill(int(children), signal.SIGKILL)
for iteration in range(2, 2000):
    board({{"iteration": iteration, "loss": 1.0}})
board.close()
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert done.stderr.count("Weights & Biases stops, the run goes on: ") == 1
    assert "Traceback" not in done.stderr


def test_without_wandb_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "ignition.handlers.weights_and_biases")
    with pytest.raises(ImportError, match=r"pip install 'ignition-engine\[wandb\]'"):
        importlib.import_module("ignition.handlers.weights_and_biases")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "dry"}, "mode is 'dry'; it can be 'online', 'offline', 'disabled'"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0; it must be above 0"),
        ({"project": "a/b"}, "project is 'a/b'; W&B takes names without any of"),
        ({"run_id": " "}, "run_id is ' '; W&B takes names"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        WandB(**{"project": "p", "folder": tmp_path, **arguments})


# ---------------------------------------------------------------------------------------------------- server's word


class Pretended:
    """A run as ``wandb.init`` gives it, whose server has rows up to an iteration or has never heard of it."""

    def __init__(self, known=None):
        self.id, self.url, self.disabled = "abc", "https://somewhere/abc", False
        self.resumed, self.summary = known is not None, {} if known is None else {"iteration": known}
        self.settings, self.rows, self.exit_code = SimpleNamespace(sync_dir="run-abc"), [], None

    def define_metric(self, *arguments, **options):
        pass

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def server(monkeypatch):
    """The run that ``wandb.init`` gives next."""
    box = SimpleNamespace(run=Pretended(), asked=None)

    def init(**options):
        box.asked = options
        return box.run

    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    monkeypatch.setattr(wandb, "init", init)
    return box


@pytest.mark.parametrize(("known", "comes"), [(6, range(7, 13)), (10, range(11, 13)), (None, range(4, 13))])
def test_online_the_server_says_how_far_the_run_is(tmp_path, server, known, comes):
    """A process that was killed took with it what it had not sent: that is sent when it comes again."""
    board = WandB("p", folder=tmp_path)
    for iteration in range(1, 11):
        board({"iteration": iteration, "loss": 1.0})
    board.close()
    server.run = Pretended(known)
    server.run.resumed = True  # it knows the run, if perhaps none of its rows
    again = WandB("p", folder=tmp_path)
    for iteration in range(4, 13):
        again({"iteration": iteration, "loss": 1.0})
    again.close(failed=True)
    assert server.asked["id"] == "abc"
    assert [row["iteration"] for row in server.run.rows] == list(comes)
    assert server.run.exit_code == 1


def test_when_the_end_takes_too_long_it_is_told_what_to_do(tmp_path, server, caplog):
    board = WandB("p", folder=tmp_path)
    board({"iteration": 1, "loss": 1.0})

    def finish(exit_code):
        raise TimeoutError("Timed out uploading after 60 seconds.")

    server.run.finish = finish
    board.close()
    board({"iteration": 2, "loss": 1.0})
    assert len(server.run.rows) == 1
    assert caplog.messages == [
        "Weights & Biases stops, the run goes on: Timed out uploading after 60 seconds. "
        "(wandb sync run-abc sends what it has)"
    ]


def test_a_memory_that_cannot_be_read_begins_a_new_run(tmp_path, server):
    for content in ("", "{", "[1]", '{"id": "old"}'):
        (tmp_path / "wandb-run.json").write_text(content)
        board = WandB("p", folder=tmp_path)
        board({"iteration": 1, "loss": 1.0})
        board.close()
        assert server.asked["id"] is None
    assert [row["iteration"] for row in server.run.rows] == [1, 1, 1, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=30), st.integers(0, 30))
def test_iterations_never_go_back_and_no_number_comes_twice(tmp_path_factory, written, cut):
    """Whatever comes in whatever order, in one process or two."""
    runs = [Pretended(), Pretended()]
    remaining = list(runs)
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "setup", lambda settings: None)
        patch.setattr(wandb, "init", lambda **options: remaining.pop(0))
        for piece in (written[:cut], written[cut:]):
            board = WandB("p", folder=folder)
            for iteration, name in piece:
                board({"iteration": iteration, name: 1.0})
            board.close()
    rows = [row for run in runs for row in run.rows]
    iterations = [row["iteration"] for row in rows]
    assert iterations == sorted(iterations)
    numbers = [(row["iteration"], name) for row in rows for name in row.keys() - {"iteration"}]
    assert len(numbers) == len(set(numbers))
    ahead = [max((i for i, _ in written[:n]), default=-1) for n in range(len(written))]
    assert set(numbers) == {pair for pair, before in zip(written, ahead) if pair[0] >= before}


def test_nothing_of_its_own_is_left_behind():
    assert weights_and_biases._open == []

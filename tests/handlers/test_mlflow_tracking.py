"""Curves in MLflow: real runs in a folder of files, read back by its own client; a scripted client for what fails."""

import importlib
import json
import logging
import math
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED
from mlflow.utils.validation import _validate_metric_name
from PIL import Image

from ignition import distributed
from ignition.handlers import MetricsLog, MLflow, mlflow_tracking

QUIET = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")


@pytest.fixture(autouse=True)
def settings_of_nobody(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name not in QUIET]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "MLflow"], "a run was left open"


def reader(folder):
    return MlflowClient(tracking_uri=str(folder / "mlruns"))


def history(folder, board, name):
    metrics = reader(folder).get_metric_history(board.run_id, name)
    return [(metric.step, metric.value) for metric in metrics]


def test_every_number_of_a_row_is_a_metric_at_its_iteration(tmp_path, capfd):
    board = MLflow(folder=tmp_path, experiment="depth", name="depth-001")
    trainer = Engine(lambda engine, batch: batch)
    log = MetricsLog(board, every=2)
    log.attach(trainer)
    trainer.run([0.5, math.nan, math.inf], max_epochs=1)
    log.write({"time": 1000.5, "iteration": 3, "epoch": 1, "val/epe": np.float32(0.25), "note": "x", "ok": True})
    board.close()
    assert [(step, str(value)) for step, value in history(tmp_path, board, "train/batch_loss")] == [
        (1, "0.5"), (2, "nan"), (3, "inf")
    ]  # fmt: skip
    assert history(tmp_path, board, "train/epoch") == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert history(tmp_path, board, "val/epe") == [(3, 0.25)]
    (epe,) = reader(tmp_path).get_metric_history(board.run_id, "val/epe")
    assert epe.timestamp == 1_000_500
    run = reader(tmp_path).get_run(board.run_id)
    assert sorted(run.data.metrics) == ["train/batch_loss", "train/epoch", "train/epoch_avg_loss", "val/epe"]
    assert (run.info.run_name, run.info.status) == ("depth-001", "FINISHED")
    assert reader(tmp_path).get_experiment(run.info.experiment_id).name == "depth"
    assert capfd.readouterr() == ("", "")


def test_a_run_that_is_resumed_goes_on_in_the_same_run_and_repeats_nothing(tmp_path):
    first = MLflow(folder=tmp_path, config={"trainer": {"epochs": 2, "seed": 0}, "note": None})
    for iteration in range(1, 6):
        first({"iteration": iteration, "val/loss": float(iteration), "val/loss/l1": 0.5})
    first.close(failed=True)
    assert reader(tmp_path).get_run(first.run_id).info.status == "FAILED"
    again = MLflow(folder=tmp_path, config={"trainer": {"epochs": 4, "seed": 0}, "note": None, "new": [1, 2]})
    for iteration in range(4, 8):  # from a checkpoint of iteration 3
        again({"iteration": iteration, "val/loss": float(iteration), "val/loss/l1": 0.5})
        if iteration == 5:
            again({"iteration": 5, "late": 0.5})  # was cut short by the stop: it is new
    again.close()
    assert first.run_id == again.run_id
    assert history(tmp_path, again, "val/loss") == [(i, float(i)) for i in range(1, 8)]
    assert history(tmp_path, again, "val/loss.l1") == [(i, 0.5) for i in range(1, 8)]
    assert history(tmp_path, again, "late") == [(5, 0.5)]
    run = reader(tmp_path).get_run(again.run_id)
    assert run.info.status == "FINISHED"
    # MLflow refuses to change a param
    assert run.data.params == {"trainer.epochs": "2", "trainer.seed": "0", "note": "None", "new": "[1, 2]"}


def test_a_run_that_is_killed_goes_on_where_the_store_is(tmp_path):
    """What still waited is lost with the process, and comes again with the run that is resumed."""
    killed = MLflow(folder=tmp_path)
    killed._start = lambda: None
    for iteration in range(1, 11):
        killed({"iteration": iteration, "loss": float(iteration)})
    killed._send()  # as its thread does when it is time
    killed({"iteration": 11, "loss": 99.0})
    del killed
    again = MLflow(folder=tmp_path)
    for iteration in range(8, 13):
        again({"iteration": iteration, "loss": float(iteration)})
    again.close()
    assert history(tmp_path, again, "loss") == [(i, float(i)) for i in range(1, 13)]


def test_names_that_mlflow_refuses_are_made_so_that_it_takes_them(tmp_path):
    board = MLflow(folder=tmp_path)
    board({"iteration": 1, "val/iou@0.5": 0.1, "val/iou#0.5": 0.2, "/top//x/": 0.3, "a/../b": 0.4, "é (px)": 0.5})
    board(
        {"iteration": 1, "val/loss": 1.0, "val/loss/l1": 2.0, "val": 3.0, "late": 4.0, "late/a": 5.0, "late/a/b": 6.0}
    )
    board.close()
    assert reader(tmp_path).get_run(board.run_id).data.metrics == {
        "val/iou_0.5": 0.1, "val/iou_0.5_": 0.2, "_/top._.x._": 0.3, "a/_...b": 0.4, "é _px_": 0.5,
        "val/loss": 1.0, "val/loss.l1": 2.0, "val_": 3.0, "late": 4.0, "late.a": 5.0, "late.a.b": 6.0,
    }  # fmt: skip


def test_a_picture_is_among_the_artifacts(tmp_path):
    board = MLflow(folder=tmp_path)
    picture = torch.zeros(3, 4, 6)
    picture[0] = 2.0
    picture[1, 0, 0] = math.nan
    board.image("val/disparity", picture, 7)
    board.image("grey", torch.full((1, 2, 2), 0.5), 7)
    with pytest.raises(ValueError, match=r"flow has shape \[2, 4, 6\]"):
        board.image("flow", torch.zeros(2, 4, 6), 3)
    board.close()
    place = reader(tmp_path).get_run(board.run_id).info.artifact_uri.removeprefix("file://")
    image = Image.open(Path(place) / "pictures" / "val" / "disparity-00000007.png")
    assert (image.size, image.mode, image.getpixel((0, 0))) == ((6, 4), "RGB", (255, 0, 0))
    assert Image.open(Path(place) / "pictures" / "grey-00000007.png").getpixel((0, 0)) == 128


def test_environment_variables_hold_where_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    board = MLflow(folder=tmp_path / "run")
    board({"iteration": 1, "loss": 1.0})
    board.close()
    client = MlflowClient(tracking_uri=str(tmp_path / "elsewhere"))
    run = client.get_run(board.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "theirs"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mlflow-run.json"]


def test_only_process_0_has_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    board = MLflow(folder=tmp_path / "run")
    board({"iteration": 1, "loss": 1.0})
    board.image("picture", torch.zeros(1, 2, 2), 1)
    board.close()
    assert not (tmp_path / "run").exists()


def test_a_store_that_was_thrown_away_begins_a_new_run_and_another_one_too(tmp_path):
    (tmp_path / "mlflow-run.json").write_text(json.dumps({"uri": str(tmp_path / "mlruns"), "run_id": "0" * 32}))
    board = MLflow(folder=tmp_path)
    board({"iteration": 1, "loss": 1.0})
    board.close()
    assert history(tmp_path, board, "loss") == [(1, 1.0)]
    other = MLflow(tmp_path / "other", folder=tmp_path)
    other({"iteration": 1, "loss": 2.0})
    other.close()
    assert other.run_id != board.run_id


# ---------------------------------------------------------------------------------------------------- failures


def test_a_server_that_cannot_be_reached_is_told_once(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    board = MLflow("http://127.0.0.1:9", folder=tmp_path, flush_seconds=0.001)
    for iteration in range(1, 50):
        board({"iteration": iteration, "loss": 1.0})
    board.close()
    board({"iteration": 50, "loss": 1.0})
    told = caplog.messages  # by nobody else
    assert told[0].startswith("MLflow at http://127.0.0.1:9 fails, the run goes on and its rows wait: ")
    assert told[1:] == ["MLflow at http://127.0.0.1:9 did not get 49 rows of this run"]
    assert capfd.readouterr() == ("", "")


class Scripted:
    """A server that raises what it is told to, and keeps what it takes."""

    def __init__(self):
        self.errors, self.batches, self.status = [], [], None
        data = SimpleNamespace(params={}, tags={}, metrics={})
        self.run = SimpleNamespace(info=SimpleNamespace(run_id="abc"), data=data)

    def __call__(self, tracking_uri):
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="0")

    def get_run(self, run_id):
        return self.run

    def create_run(self, experiment_id, run_name):
        return self.run

    def update_run(self, run_id, status):
        self.status = status

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        if metrics and self.errors:
            raise self.errors.pop(0)
        if metrics:
            self.batches.append([(metric.key, metric.step) for metric in metrics])
            self.run.data.tags.update({tag.key: tag.value for tag in tags})

    @property
    def steps(self):
        return [step for batch in self.batches for _, step in batch]


@pytest.fixture
def server(monkeypatch):
    server = Scripted()
    monkeypatch.setattr(mlflow_tracking, "MlflowClient", server)
    return server


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), MlflowException("API request failed"), OSError(28, "No space left on device")]
)
def test_rows_wait_for_a_server_that_comes_back(tmp_path, server, caplog, error):
    server.errors = [error] * 3
    board = MLflow("http://somewhere", folder=tmp_path, flush_seconds=0.001)
    for iteration in range(1, 6):
        board({"iteration": iteration, "loss": 1.0})
    while server.errors:
        pass
    board({"iteration": 6, "loss": 1.0})
    board.close()
    assert server.steps == [1, 2, 3, 4, 5, 6]
    assert caplog.messages == [f"MLflow at http://somewhere fails, the run goes on and its rows wait: {error}"]
    assert server.status == "FINISHED"


@pytest.mark.parametrize("code", [INVALID_PARAMETER_VALUE, PERMISSION_DENIED])
def test_a_server_that_refuses_costs_the_curves_not_the_run(tmp_path, server, caplog, code):
    server.errors = [MlflowException("no\nmore", code)] * 9
    board = MLflow("http://somewhere", folder=tmp_path, flush_seconds=0.001)
    board({"iteration": 1, "loss": 1.0})
    while len(server.errors) == 9:
        pass
    for iteration in range(2, 6):
        board({"iteration": iteration, "loss": 1.0})
    board.close()
    assert (server.steps, len(server.errors)) == ([], 8)
    assert caplog.messages == ["MLflow stops at http://somewhere, the run goes on: no"]
    assert caplog.records[0].levelno == logging.WARNING


def test_no_more_rows_wait_than_there_is_room_for(tmp_path, server, caplog, monkeypatch):
    monkeypatch.setattr(MLflow, "WAITING", 5)
    monkeypatch.setattr(MLflow, "_start", lambda self: None)  # the server is slow, very slow
    board = MLflow("http://somewhere", folder=tmp_path)
    for iteration in range(1, 9):
        board({"iteration": iteration, "loss": 1.0})
    board._send()
    board.close()
    assert server.steps == [4, 5, 6, 7, 8]
    assert caplog.messages == ["MLflow at http://somewhere did not get 3 rows of this run"]


def test_rows_travel_together(tmp_path, server):
    board = MLflow("http://somewhere", folder=tmp_path, flush_seconds=3600)
    board._start = lambda: None
    for iteration in range(1, 1001):
        board({"iteration": iteration, "a": 1.0, "b": 2.0})
    del board._start
    board._start()
    board.close()
    assert [len(batch) for batch in server.batches] == [900, 900, 200]
    assert server.steps[::2] == list(range(1, 1001))
    assert json.loads(server.run.data.tags["ignition.progress"]) == {"iteration": 1000, "names": ["a", "b"]}


def test_closing_does_not_wait_for_ever(tmp_path, server, caplog):
    free = threading.Event()
    log_batch = server.log_batch
    server.log_batch = lambda *arguments, **options: (free.wait(), log_batch(*arguments, **options))
    board = MLflow("http://somewhere", folder=tmp_path, timeout_seconds=0.01)
    board({"iteration": 1, "loss": 1.0})
    thread = board._thread
    board.close()
    assert caplog.messages == ["MLflow at http://somewhere did not get 1 rows of this run"]
    free.set()
    thread.join()


def test_without_mlflow_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "ignition.handlers.mlflow_tracking")
    with pytest.raises(ImportError, match=r"pip install 'ignition-engine\[mlflow\]'"):
        importlib.import_module("ignition.handlers.mlflow_tracking")


def test_a_row_that_says_no_iteration_is_refused_where_it_is_given(tmp_path):
    with pytest.raises(KeyError, match="iteration"):
        MLflow(folder=tmp_path)({"loss": 1.0})
    with pytest.raises(ValueError, match="timeout_seconds is -1; it must be above 0"):
        MLflow(folder=tmp_path, timeout_seconds=-1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=30), st.integers(0, 30))
def test_iterations_never_go_back_and_no_number_comes_twice(tmp_path_factory, written, cut):
    """Whatever comes in whatever order, in one process or two."""
    server, folder = Scripted(), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_tracking, "MlflowClient", server)
        for piece in (written[:cut], written[cut:]):
            board = MLflow("http://somewhere", folder=folder)
            for iteration, name in piece:
                board({"iteration": iteration, name: 1.0})
            board.close()
    assert server.steps == sorted(server.steps)
    numbers = [(step, name) for batch in server.batches for name, step in batch]
    ahead = [max((i for i, _ in written[:n]), default=-1) for n in range(len(written))]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == {pair for pair, before in zip(written, ahead) if pair[0] >= before}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab/.@é #:-"), min_size=1, max_size=8), unique=True, max_size=8))
def test_any_names_become_names_of_their_own_that_a_folder_of_files_takes(names):
    board = MLflow(folder="unused")
    keys = [board._key(name) for name in names]
    assert keys == [board._key(name) for name in names]
    assert len(set(keys)) == len(keys)
    for key in keys:
        _validate_metric_name(key)
        assert not any(other.startswith(key + "/") for other in keys)

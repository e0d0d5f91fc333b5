"""Writes rows of numbers, and pictures, to MLflow."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from PIL import Image

from ignition import distributed
from ignition.handlers.rows import Told, numbers_of, picture_of

# mlflow tells its makers over the network how it is used, from a thread of its own, and prints at a run's end.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
except ImportError as error:
    raise ImportError(f"MLflow needs the package mlflow ({error}): pip install 'ignition-engine[mlflow]'") from error

logger = logging.getLogger(__name__)

_MEMORY = "mlflow-run.json"
_PROGRESS = "ignition.progress"  # a tag of the run: how far it is
_THREAD = "MLflow"


class MLflow:
    """Takes rows and writes each number in them as a metric of a run of MLflow, at the row's iteration.

    A row is ``{"time", "iteration", "epoch", name: number, ...}``; ``time`` is seconds since 1970, now if absent. Rows
    wait in memory, and a thread of its own sends them together, so that training waits for no server. The run begins
    with the first row.

    The run's id is kept in ``folder``, in ``mlflow-run.json``, and how far it is in a tag of the run. A run that is
    resumed there goes on in the same one, and what that has already is not written again: iterations never go back. A
    process that is killed takes along the rows that were waiting; they come again with the resumed run.

    Where the server cannot be reached, that is told once through ``logging``; rows wait for it to come back, the latest
    ``WAITING`` at most. Where it refuses, that costs the curves, not the run. Process 0 alone writes.

    MLflow allows letters, digits and ``_ - . : /`` and blanks in names: anything else becomes ``_``. In a folder of
    files a name cannot lie below another one (``val/loss``, ``val/loss/l1``): slashes after the first become dots. A
    database has no infinity and keeps the largest number in its place.

    Args:
        uri: of the tracking server or database, or a folder. If None, ``MLFLOW_TRACKING_URI``, or files in
            ``folder/mlruns``. A database (``sqlite:///mlflow.db``) needs the package mlflow, mlflow-skinny has none.
        folder: of the run.
        experiment: in which the run is made; if None, ``MLFLOW_EXPERIMENT_NAME``, or ``Default``.
        name: how MLflow shows the run; one of its own making if None.
        run_id: of the run to go on with; otherwise the one of ``folder``, or a new one.
        config: settings, nested or not, as the run's params. MLflow never changes one: a resumed run keeps its own.
        flush_seconds: how long rows wait.
        timeout_seconds: how long `close` waits for what is to be sent.

    >>> MLflow("http://localhost:5000", folder="runs/depth-001", flush_seconds=0)
    Traceback (most recent call last):
    ValueError: flush_seconds is 0; it must be above 0
    """

    WAITING = 20_000  # rows
    TOGETHER = 900  # metrics in a request; MLflow takes 1000

    def __init__(
        self,
        uri: str | Path | None = None,
        *,
        folder: str | Path,
        experiment: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        flush_seconds: float = 10.0,
        timeout_seconds: float = 30.0,
    ):
        for what, seconds in (("flush_seconds", flush_seconds), ("timeout_seconds", timeout_seconds)):
            if not seconds > 0:
                raise ValueError(f"{what} is {seconds}; it must be above 0")
        self.folder, self.name, self.run_id = Path(folder), name, run_id
        self.uri = str(uri or os.environ.get("MLFLOW_TRACKING_URI") or (self.folder / "mlruns").absolute())
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        self.params = dict(_flat(config or {}))
        self.flush_seconds, self.timeout_seconds = flush_seconds, timeout_seconds
        self.lost = 0  # rows that found no room
        self._files = urlparse(self.uri).scheme in ("", "file")
        self._rows: deque[dict[str, Any]] = deque(maxlen=self.WAITING)
        self._pictures: deque[tuple[str, Image.Image]] = deque(maxlen=100)
        self._batch: tuple[list[Metric], str] | None = None  # made of rows, and not sent yet
        self._has = Told()
        self._keys: dict[str, str] = {}  # what MLflow calls each name
        self._known: set[str] = set()  # what a run that is resumed has already
        self._client: Any = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ended, self._told, self._status = distributed.rank() != 0, False, ""

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Leave the numbers of ``row`` to be written; other entries are passed over."""
        if self._ended:
            return
        self.lost += len(self._rows) == self.WAITING  # the oldest makes room
        self._rows.append({"time": time.time(), **row, "iteration": row["iteration"]})
        self._start()

    def image(self, name: str, image: torch.Tensor, iteration: int) -> None:
        """Leave a picture to be written to ``pictures/<name>-<iteration>.png`` of the run's artifacts.

        Float [C,H,W] in 0..1 with 1, 3 or 4 channels; values beyond are cut off, NaN is black.
        """
        if self._ended:
            return
        self._pictures.append((f"pictures/{_allowed(name)}-{iteration:08d}.png", picture_of(name, image)))
        self._start()

    def close(self, *, failed: bool = False) -> None:
        """Send what is left and end the MLflow run, as failed or well. What comes later is dropped."""
        thread, self._ended = self._thread, True
        if thread is not None:
            self._status = "FAILED" if failed else "FINISHED"
            self._wake.set()
            thread.join(self.timeout_seconds)
            self._thread = None
        if self.lost or self._rows or self._batch:
            left = len({metric.step for metric in self._batch[0]}) if self._batch else 0
            logger.warning("MLflow at %s did not get %d rows of this run", self.uri, self.lost + left + len(self._rows))

    # ------------------------------------------------------------------------------------- the thread that sends

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=_THREAD, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        connections = logging.getLogger("urllib3.connectionpool")  # warns at every try
        connections.addFilter(_not_from_here)
        try:
            while not self._status:
                self._send()
                if self._wake.wait(self.flush_seconds):
                    break
            self._send()
            if self._client is not None:
                with contextlib.suppress(Exception):  # all that matters is there
                    self._client.set_terminated(self.run_id, self._status)
        finally:
            connections.removeFilter(_not_from_here)

    def _send(self) -> None:
        """Send all that waits. What fails stays, for the next time."""
        try:
            if self._client is None:
                self._begin()
            while self._batch or self._rows:
                metrics, progress = self._batch = self._batch or self._next_batch()
                if metrics:
                    self._client.log_batch(self.run_id, metrics=metrics, tags=[RunTag(_PROGRESS, progress)])
                self._batch = None
            while self._pictures:
                path, picture = self._pictures[0]
                self._client.log_image(self.run_id, picture, artifact_file=path)
                self._pictures.popleft()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 500
        refused = status < 500 and status not in (408, 429)  # too slow, too often: later it may do
        if refused or not isinstance(error, (MlflowException, OSError)):
            logger.warning("MLflow stops at %s, the run goes on: %s", self.uri, reason)
            self._ended, self._batch, self._client, self._status = True, None, None, "FAILED"
            self._rows.clear()
            self._pictures.clear()
        elif not self._told:
            self._told = True
            logger.warning("MLflow at %s fails, the run goes on and its rows wait: %s", self.uri, reason)

    def _next_batch(self) -> tuple[list[Metric], str]:
        metrics: list[Metric] = []
        while self._rows and len(metrics) < self.TOGETHER:
            row = self._rows.popleft()
            iteration = row["iteration"]
            for name, value in self._has.fresh(iteration, numbers_of(row)).items():
                metrics.append(Metric(self._key(name), float(value), int(row["time"] * 1000), iteration))
        return metrics, json.dumps({"iteration": self._has.iteration, "names": sorted(self._has.names)[:100]})

    # ------------------------------------------------------------------------------------------------ the run

    def _begin(self) -> None:
        if self._files:  # MLflow wants to be asked twice; without a server or database there is nothing else
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(tracking_uri=self.uri)
        run = self._resumed(client)
        if run is None:
            run = client.create_run(self._experiment(client), run_name=self.name)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            with contextlib.suppress(ValueError, KeyError, TypeError):
                progress = json.loads(run.data.tags[_PROGRESS])
                self._has = Told(int(progress["iteration"]), progress["names"])
            self._known = set(run.data.metrics)
        self.run_id = run.info.run_id
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _MEMORY).write_text(json.dumps({"uri": self.uri, "run_id": self.run_id}) + "\n")
        new = [Param(key, value) for key, value in self.params.items() if key not in run.data.params]
        client.log_batch(self.run_id, params=new)
        self._client = client
        logger.info("MLflow: run %s at %s", self.run_id, self.uri)

    def _resumed(self, client: MlflowClient) -> Any:
        if self.run_id is not None:
            return client.get_run(self.run_id)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads((self.folder / _MEMORY).read_text())
            if known["uri"] == self.uri:
                try:
                    return client.get_run(known["run_id"])
                except MlflowException as error:
                    if error.get_http_status_code() != 404:  # else that store was thrown away
                        raise
        return None

    def _experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return client.create_experiment(self.experiment)
            except MlflowException:
                found = client.get_experiment_by_name(self.experiment)
                if found is None:  # else another run has just made it
                    raise
        return found.experiment_id

    def _key(self, name: str) -> str:
        """What MLflow calls ``name``: always the same, and nothing else's."""
        if name not in self._keys:
            key, own = _allowed(name), set(self._keys.values())
            taken = own | self._known if self._files else own
            if self._files and "/" in key:
                first, rest = key.split("/", 1)
                key = first + ("." if first in taken else "/") + rest.replace("/", ".")
            while key in own or (self._files and any(other.startswith(key + "/") for other in taken)):
                key += "_"
            self._keys[name] = key
        return self._keys[name]


def _not_from_here(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD


def _allowed(name: str) -> str:
    """``name`` with what MLflow forbids replaced: other characters, and parts that would lead to another folder."""
    parts = [re.sub(r"[^\w.\- :]" if os.name != "nt" else r"[^\w.\- ]", "_", part) for part in name.split("/")]
    key = "/".join(part if part.strip(".") else "_" + part for part in parts)[:240].rstrip("/")
    return "_" + key if key.startswith("..") else key


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield _allowed(key), str(value)[:6000]

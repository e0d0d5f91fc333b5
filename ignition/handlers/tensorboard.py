"""Writes rows of numbers, and pictures, for TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import image as image_summary

from ignition.handlers.rows import numbers_of, pixels_of

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 30.0


class TensorBoard:
    """Takes rows and writes each number in them as a scalar at the row's iteration.

    A row is ``{"time", "iteration", "epoch", name: number, ...}``; ``time`` is seconds since 1970, now if absent. It
    becomes one record, written in this thread: tensorboardX's ``SummaryWriter`` hands every scalar to a thread of its
    own, and once a write has failed there (a full disk) the run waits for that thread for ever. Here a failed write is
    told once through ``logging``, and the run goes on without TensorBoard.

    Args:
        folder: where the event file is made, if need be with its parents.
        purge_step: hide what earlier files of the folder have from this iteration on: where a run is resumed. Where
            that is known later only, `rewind` does it.
    """

    def __init__(self, folder: str | Path, *, purge_step: int | None = None):
        self.folder = Path(folder)
        self._records: RecordWriter | None = None
        self._flushed = -math.inf  # the first row can be looked at at once
        self._try(self._open)
        if purge_step is not None:
            self.rewind(purge_step - 1)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of ``row``; other entries are passed over."""
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in numbers_of(row).items()]
        if values:
            self._write(Summary(value=values), row["iteration"], row.get("time"))

    def image(self, name: str, image: torch.Tensor, iteration: int) -> None:
        """Write a picture: float [C,H,W] in 0..1 with 1, 3 or 4 channels; values beyond are cut off, NaN is black."""
        self._write(image_summary(name, pixels_of(name, image)), iteration, None)

    def rewind(self, iteration: int) -> None:
        """Hide what was written for later iterations, by earlier processes too: the run goes on from here."""
        start = SessionLog(status=SessionLog.START)
        event = Event(wall_time=time.time(), step=iteration + 1, session_log=start)
        self._try(lambda: self._append(event))
        self._flushed = -math.inf  # the first row that comes again can be looked at at once

    def close(self) -> None:
        """Write out what is left. What comes later is dropped."""
        records = self._records
        if records is not None:
            self._try(records.close)
        self._records = None

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Readers take the files in the order of their names; nanoseconds keep a run that is resumed at once from
        # overwriting its first file.
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        name = f"events.out.tfevents.{seconds}.{nanoseconds:09d}.{socket.gethostname()}"
        self._records = RecordWriter(str(self.folder / name))
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def _write(self, summary: Summary, iteration: int, wall_time: float | None) -> None:
        event = Event(wall_time=time.time() if wall_time is None else wall_time, step=iteration, summary=summary)
        self._try(lambda: self._append(event))

    def _append(self, event: Event) -> None:
        if self._records is None:
            return
        self._records.write(event.SerializeToString())
        now = time.monotonic()
        if now - self._flushed > _FLUSH_SECONDS:
            self._flushed = now
            self._records.flush()

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            records, self._records = self._records, None
            if records is not None:
                with contextlib.suppress(OSError):  # it tries once more to write what it holds
                    records.close()
            logger.warning("TensorBoard stops at %s, the run goes on: %s", self.folder, error)

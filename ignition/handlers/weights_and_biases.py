"""Writes rows of numbers, and pictures, to Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from ignition import distributed
from ignition.handlers.rows import Told, numbers_of, picture_of

# wandb sends reports of its own faults to its makers, in offline mode too, from two threads that outlive the run.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

try:
    import wandb
except ImportError as error:
    raise ImportError(f"WandB needs the package wandb ({error}): pip install 'ignition-engine[wandb]'") from error

logger = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]

_MEMORY = "wandb-run.json"
_REFUSED = set("/\\#?%:")  # by W&B, in names of projects and runs

_lock = threading.Lock()
_open: list[WandB] = []  # whose runs share wandb's service process
_service_is_ours = False


class WandB:
    """Takes rows and writes each number in them to a run of Weights & Biases, over the row's iteration.

    A row is ``{"iteration", "epoch", name: number, ...}``. W&B counts rows as its own steps; ``iteration`` is a column
    and made the axis of all charts. (Given as W&B's step it would come out wrong: ``wandb sync`` numbers the steps of a
    run that was resumed offline anew.) The run begins with the first row. Rows wait in memory for a second at most, and
    a thread of its own hands them to wandb: that takes longer than a row takes otherwise, and beginning may take long.

    The run's id and how far it has come are kept in ``folder``, in ``wandb-run.json``. A run that is resumed there goes
    on in the same W&B run, and what that has already is not written again: iterations never go backwards. Offline,
    each process leaves a folder of its own; ``wandb sync <folder>/wandb/offline-run-*`` makes one run of them. A
    process that is killed takes along what was not written yet. Online that comes again, as the server says how far it
    is; offline the last second or two are missing.

    Where W&B cannot be reached, or fails later, that is told once through ``logging`` and costs the curves, not the
    run. Nothing is printed or asked for on the terminal. Environment variables of W&B hold where an argument is None,
    and ``WANDB_DIR`` before ``folder``. Process 0 alone writes.

    Args:
        project: as W&B knows it.
        folder: of the run. W&B's own files go into its folder ``wandb``.
        name: how W&B shows the run; one of its own making if None.
        run_id: of the W&B run to go on with or to make; otherwise the one of ``folder``, or a new one.
        mode: ``online``, ``offline`` (``wandb sync`` sends it later) or ``disabled``.
        config: settings to be shown beside the run, nested or not.
        timeout_seconds: how long the beginning of the run may take, and how long its end.

    Attributes:
        run_id, url: of the W&B run, once it has begun; no url offline.

    >>> WandB("depth", folder="runs/depth-001", mode="offlin")
    Traceback (most recent call last):
    ValueError: mode is 'offlin'; it can be 'online', 'offline', 'disabled', or None for what W&B is set to
    """

    WAITING = 100_000  # rows
    HAND_OVER_SECONDS = 1.0

    def __init__(
        self,
        project: str | None = None,
        *,
        folder: str | Path,
        name: str | None = None,
        run_id: str | None = None,
        mode: Mode | None = None,
        config: Mapping[str, Any] | None = None,
        timeout_seconds: float = 60.0,
    ):
        if mode not in (None, "online", "offline", "disabled"):
            raise ValueError(
                f"mode is {mode!r}; it can be 'online', 'offline', 'disabled', or None for what W&B is set to"
            )
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; it must be above 0")
        for what, given in (("project", project), ("run_id", run_id)):
            if given is not None and (not given.strip() or _REFUSED & set(given)):
                raise ValueError(f"{what} is {given!r}; W&B takes names without any of {' '.join(sorted(_REFUSED))}")
        self.project, self.folder, self.name, self.run_id, self.mode = project, Path(folder), name, run_id, mode
        self.config, self.timeout_seconds = dict(config or {}), timeout_seconds
        self.url: str | None = None
        self.lost = 0  # rows that found no room
        self._run: Any = None
        self._memory: Any = None
        self._has = Told()
        self._rows: deque[dict[str, Any]] = deque(maxlen=self.WAITING)
        self._pictures: deque[tuple[int, str, Image.Image]] = deque(maxlen=100)
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ended, self._exit_code = distributed.rank() != 0, 0

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Leave the numbers of ``row`` to be written; other entries are passed over."""
        if self._ended:
            return
        self.lost += len(self._rows) == self.WAITING  # the oldest makes room
        self._rows.append({**row, "iteration": row["iteration"]})
        self._start()

    def image(self, name: str, image: torch.Tensor, iteration: int) -> None:
        """Leave a picture to be written, before the first row of its iteration or a later one.

        Float [C,H,W] in 0..1 with 1, 3 or 4 channels; values beyond are cut off, NaN is black.
        """
        if self._ended:
            return
        self._pictures.append((iteration, name, picture_of(name, image)))
        self._start()

    def close(self, *, failed: bool = False) -> None:
        """Write what is left and end the W&B run, as failed or well. What comes later is dropped."""
        thread, self._thread = self._thread, None
        self._ended, self._exit_code = True, int(failed)
        if thread is not None:
            self._wake.set()
            thread.join(2 * self.timeout_seconds)  # it may have to begin first
            if thread.is_alive():
                logger.warning("Weights & Biases has not ended within %g s", 2 * self.timeout_seconds)
        if self.lost:
            logger.warning("Weights & Biases did not get %d rows: wandb was too slow", self.lost)

    # ------------------------------------------------------------------------------------- the thread that writes

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="WandB", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            self._begin()
            closing = False
            while not closing:
                closing = self._wake.wait(self.HAND_OVER_SECONDS)
                self._write_rows()
            self._write_pictures(None)
            self._run.finish(exit_code=self._exit_code)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            where = "" if self._run is None else f" (wandb sync {self._run.settings.sync_dir} sends what it has)"
            logger.warning("Weights & Biases stops, the run goes on: %s%s", reason, where)
        finally:
            self._end()

    def _write_rows(self) -> None:
        while self._rows:
            row = self._rows.popleft()
            self._write_pictures(row["iteration"])
            place: dict[str, Any] = {name: row[name] for name in ("iteration", "epoch") if name in row}
            self._write(place, numbers_of(row))

    def _write_pictures(self, iteration: int | None) -> None:
        """Those up to ``iteration``: they were drawn before the rows of their iteration, or of earlier ones, came."""
        while self._pictures and (iteration is None or self._pictures[0][0] <= iteration):
            place, name, picture = self._pictures.popleft()
            self._write({"iteration": place}, {name: wandb.Image(picture)})

    def _write(self, place: dict[str, Any], values: dict[str, Any]) -> None:
        fresh = self._has.fresh(place["iteration"], values)
        if fresh:
            self._run.log({**place, **fresh})
            self._remember()

    def _begin(self) -> None:
        global _service_is_ours
        known = self._recall()
        self.folder.mkdir(parents=True, exist_ok=True)
        with _lock:
            if not _open:
                _service_is_ours = "WANDB_SERVICE" not in os.environ
            _open.append(self)
        # Silent, or it would ask for a key on a terminal and wait for the answer all night.
        wandb.setup(_settings())
        self._run = wandb.init(
            project=self.project,
            dir=os.environ.get("WANDB_DIR") or str(self.folder),
            name=self.name,
            id=self.run_id or known.get("id"),
            mode=self.mode,
            config=self.config,
            resume="allow",
            reinit="create_new",  # and leave alone what others have begun
            settings=_settings(
                init_timeout=self.timeout_seconds,
                finish_timeout=self.timeout_seconds,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=1.0,  # the 15 s of wandb are lost where the process is killed
            ),
        )
        run = self._run
        self.run_id, self.url = run.id, run.url
        if run.disabled:
            return
        run.define_metric("iteration", hidden=True)
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="iteration")
        if known.get("id") == run.id:
            self._has = Told(known["iteration"], known["names"])
        sent = int(run.summary.get("iteration", -1)) if run.resumed else self._has.iteration
        if sent != self._has.iteration:  # a process was killed with rows that it had not sent
            self._has = Told(sent + 1)
        self._memory = os.fdopen(os.open(self.folder / _MEMORY, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        self._remember()
        logger.info("Weights & Biases: %s", self.url or run.settings.sync_dir)

    # ------------------------------------------------------------------------------------- memory, end

    def _remember(self) -> None:
        if self._memory is not None:
            state = {"id": self.run_id, "iteration": self._has.iteration, "names": sorted(self._has.names)}
            self._memory.seek(0)
            self._memory.write(json.dumps(state).encode() + b"\n")  # what is behind the line is of longer ones

    def _recall(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((self.folder / _MEMORY).read_bytes().split(b"\n")[0])
            return {"id": str(state["id"]), "iteration": int(state["iteration"]), "names": list(state["names"])}
        return {}

    def _end(self) -> None:
        self._run, self._ended = None, True
        self._rows.clear()
        self._pictures.clear()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        with _lock:
            if self in _open:
                _open.remove(self)
                # Its process and threads go with the last run, unless somebody else's run needs them.
                if not _open and _service_is_ours and wandb.run is None:
                    with contextlib.suppress(Exception):
                        wandb.teardown()


def _settings(**further: Any) -> wandb.Settings:
    """Nothing printed, nothing captured, and those of ``further`` that the installed wandb knows."""
    known = {name: value for name, value in further.items() if name in wandb.Settings.model_fields}
    return wandb.Settings(silent=True, console="off", **known)

"""Writes rows of numbers, and pictures, to Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from ignition import distributed

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
_PLACE = ("time", "iteration", "epoch")  # say where a row belongs and are no curves

_open: list[WandB] = []  # whose runs share wandb's service process
_service_is_ours = False


class WandB:
    """Takes rows and writes each number in them to a run of Weights & Biases, over the row's iteration.

    A row is ``{"iteration", "epoch", name: number, ...}``. W&B counts rows as its own steps; ``iteration`` is a column
    and made the axis of all charts. (Given as W&B's step it would come out wrong: ``wandb sync`` numbers the steps of a
    run that was resumed offline anew.) The run begins with the first row.

    The run's id and how far it has come are kept in ``folder``, in ``wandb-run.json``. A run that is resumed there goes
    on in the same W&B run, and what that has already is not written again: iterations never go backwards. Offline,
    each process leaves a folder of its own; ``wandb sync <folder>/wandb/offline-run-*`` makes one run of them. A
    process that is killed takes along what wandb had not yet written: up to a second of rows offline, none online,
    where the server says how far it is.

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

    >>> WandB("depth", folder="runs/depth-001", mode="offlin")
    Traceback (most recent call last):
    ValueError: mode is 'offlin'; it can be 'online', 'offline', 'disabled', or None for what W&B is set to
    """

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
        self._run: Any = None
        self._ended = distributed.rank() != 0
        self._memory: int | None = None
        self._last, self._names = -1, set[str]()  # the run's highest iteration, and what it has of that
        self._pictures: list[tuple[int, str, Image.Image]] = []  # wait for the rows of their iteration

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of ``row``; other entries are passed over."""
        values = {
            name: value if isinstance(value, (int, float)) else float(value)
            for name, value in row.items()
            if name not in _PLACE and isinstance(value, Real) and not isinstance(value, bool)
        }
        self._write_pictures(row["iteration"])
        self._write(row["iteration"], values, epoch=row.get("epoch"))

    def image(self, name: str, image: torch.Tensor, iteration: int) -> None:
        """Write a picture, with the next row of its iteration or a later one: float [C,H,W] in 0..1, C 1, 3 or 4.

        Values beyond are cut off, NaN is black.
        """
        if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
            raise ValueError(f"{name} has shape {list(image.shape)}; an image is [C,H,W] with 1, 3 or 4 channels")
        if self._ended:
            return
        image = image.detach().float().nan_to_num(nan=0.0).clamp(0, 1)
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        self._pictures.append((iteration, name, Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)))

    def close(self, *, failed: bool = False) -> None:
        """End the W&B run, as failed or well, and wait for what is to be sent. What comes later is dropped."""
        self._write_pictures(None)
        run = self._run
        if run is not None:
            self._try(lambda: run.finish(exit_code=int(failed)))
        self._end()

    # ------------------------------------------------------------------------------------------------ writing

    def _write_pictures(self, iteration: int | None) -> None:
        """Those up to ``iteration``, all if None."""
        waiting, self._pictures = self._pictures, []
        for place, name, picture in waiting:
            if iteration is None or place <= iteration:
                self._write(place, {name: picture})
            else:
                self._pictures.append((place, name, picture))

    def _write(self, iteration: int, values: dict[str, Any], *, epoch: int | None = None) -> None:
        if self._run is None:
            self._try(self._begin)
        if iteration < self._last:
            return
        if iteration > self._last:
            self._last, self._names = iteration, set()
        fresh = {name: value for name, value in values.items() if name not in self._names}
        if fresh:
            self._names |= fresh.keys()
            self._try(
                lambda: self._log({"iteration": iteration, **({} if epoch is None else {"epoch": epoch}), **fresh})
            )

    def _log(self, values: dict[str, Any]) -> None:
        self._run.log({name: _loggable(value) for name, value in values.items()})
        self._remember()

    def _begin(self) -> None:
        global _service_is_ours
        known = self._recall()
        self.folder.mkdir(parents=True, exist_ok=True)
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
            self._last, self._names = known["iteration"], set(known["names"])
        if run.resumed and run.summary.get("iteration", self._last) != self._last:
            self._last, self._names = int(run.summary["iteration"]) + 1, set()  # all up to it is on the server
        self._memory = os.open(self.folder / _MEMORY, os.O_RDWR | os.O_CREAT, 0o644)
        self._remember()
        logger.info("Weights & Biases: %s", self.url or run.settings.sync_dir)

    # ------------------------------------------------------------------------------------------------ memory, failure

    def _remember(self) -> None:
        if self._memory is not None:
            state = {"id": self.run_id, "iteration": self._last, "names": sorted(self._names)}
            os.pwrite(self._memory, json.dumps(state).encode() + b"\n", 0)  # what is behind the line is of longer ones

    def _recall(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((self.folder / _MEMORY).read_bytes().split(b"\n")[0])
            return {"id": str(state["id"]), "iteration": int(state["iteration"]), "names": list(state["names"])}
        return {}

    def _try(self, act: Callable[[], object]) -> None:
        """Do it; whatever goes wrong in wandb is told, and ends the curves."""
        if self._ended:
            return
        try:
            act()
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            where = "" if self._run is None else f" (wandb sync {self._run.settings.sync_dir} sends what it has)"
            logger.warning("Weights & Biases stops, the run goes on: %s%s", reason, where)
            self._end()

    def _end(self) -> None:
        self._run, self._ended, self._pictures = None, True, []
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
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


def _loggable(value: Any) -> Any:
    return wandb.Image(value) if isinstance(value, Image.Image) else value

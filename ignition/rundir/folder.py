"""A run's files: what they are called, how a run is made, taken up and told about."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignition.rundir.bundles import Bundles
from ignition.rundir.environment import environment, is_restarted, launch, now
from ignition.rundir.lock import Locked, locked, owner
from ignition.rundir.rows import Rows, read_json, replace_file, to_json

log = logging.getLogger(__name__)

CONFIG, RECIPE, ENVIRONMENT, STATUS = "config.yaml", "recipe.py", "environment.json", "status.json"
METRICS, MEASUREMENTS, INCIDENTS = "metrics.jsonl", "measurements.jsonl", "incidents.jsonl"
REPORT, REVIEW, LOCK = "report.html", "review.json", ".lock"
CHECKPOINTS, PICTURES, BUNDLES = "checkpoints", "pictures", "incidents"
LAST_CHECKPOINT, BEST_CHECKPOINT = "last.pt", "best.pt"
STATUSES = ("running", "finished", "stopped", "preempted", "diverged", "failed")


class RunFolderError(ValueError):
    """A run folder cannot be made, read or written; names the path, the reason and what to do."""


def checkpoint_name(iteration: int) -> str:
    """What the checkpoint of an iteration is called.

    >>> checkpoint_name(1200)
    'iteration-00001200.pt'
    """
    return f"iteration-{iteration:08d}.pt"


def checkpoint_iteration(name: str) -> int | None:
    """The iteration in a checkpoint's file name; None for other files, such as ``last.pt``.

    >>> checkpoint_iteration("iteration-00001200.pt"), checkpoint_iteration("best.pt")
    (1200, None)
    """
    match = re.fullmatch(r"iteration-(\d+)\.pt", name)
    return int(match[1]) if match else None


class RunFolder:
    """The files of one run. Make a new one by `create` or `create_at`, take up one that is there by `open`.

    What a run is made of (config, recipe, environment) must be written, or the run does not begin. What it tells on
    its way (metrics, measurements, incidents, status) may fail, on a full disk for instance: one warning, and the run
    goes on.

    Args:
        path: the folder; made absolute here, so that a later change of the working directory does not matter.
    """

    def __init__(self, path: str | Path):
        if re.match(r"[a-zA-Z][\w+.-]+:/", str(path)):
            raise RunFolderError(f"{path} is an address; a run folder is a path: fetch it first")
        self.path = Path(path).expanduser().absolute()
        self.metrics = Rows(self.path / METRICS)
        self.measurements = Rows(self.path / MEASUREMENTS)
        self.incidents = Rows(self.path / INCIDENTS)
        self.bundles = Bundles(self.path / BUNDLES)
        self._recipe_source: str | None = None
        self._status_failed = False

    # ---------------------------------------------------------------------------------------- making and opening

    @classmethod
    def create(cls, root: str | Path, recipe: str, config_name: str) -> RunFolder:
        """A new folder ``<root>/<recipe>/<config_name>-<number>``, with the next free number.

        Raises:
            RunFolderError: a name that is none, or a place that cannot be written.
        """
        parent = Path(root).expanduser().absolute() / _checked(recipe)
        taken = max(_numbered(parent, _checked(config_name)), default=0)
        _make(parent)
        while True:
            taken += 1
            path = parent / f"{config_name}-{taken:03d}"
            try:
                path.mkdir()  # of two starts at once, one gets this number and the other the next
            except FileExistsError:
                continue
            except OSError as error:
                raise _cannot("make the run folder", path, error) from error
            return cls(path)._furnish()

    @classmethod
    def create_at(cls, path: str | Path) -> RunFolder:
        """A new run in the folder ``path``, made if need be with its parents.

        Raises:
            RunFolderError: it holds a run, or cannot be written.
        """
        run = cls(path)
        _make(run.path)
        if cls.is_run(run.path):
            raise RunFolderError(f"{run.path} holds a run: go on with it by --resume {path}, or name another folder")
        if run._traces():
            parts = f"parts of a run ({', '.join(run._traces())}) but no {' and no '.join(run._missing())}"
            raise RunFolderError(f"{run.path} holds {parts}: name another folder, or clear this one")
        return run._furnish()

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The run in the folder ``path``; one that was made and has nothing in it yet will do.

        Raises:
            RunFolderError: there is no run; says what is missing.
        """
        run = cls(path)
        try:
            os.listdir(run.path)
        except OSError as error:
            raise _cannot("open the run folder", run.path, error) from error
        missing = run._missing()
        if missing and (run._traces() or not run.checkpoints.is_dir()):
            raise RunFolderError(f"{run.path} is no run folder: it has no {' and no '.join(missing)}")
        return run

    @classmethod
    def is_run(cls, path: str | Path) -> bool:
        """Whether the folder ``path`` holds a run that was begun."""
        run = cls(path)
        try:
            return run.path.is_dir() and not run._missing()
        except OSError:  # a place that cannot be looked at
            return False

    @classmethod
    def newest(cls, root: str | Path, recipe: str, config_name: str) -> Path | None:
        """The run of that config with the highest number, if there is one."""
        return next(cls._newest_first(root, recipe, config_name), None)

    @classmethod
    def of_this_launch(cls, root: str | Path, recipe: str, config_name: str) -> Path | None:
        """The run of that config that this launch of torchrun has begun, before it started its processes again."""
        if launch() is None:
            return None
        return next(filter(cls.is_of_this_launch, cls._newest_first(root, recipe, config_name)), None)

    @classmethod
    def is_of_this_launch(cls, path: str | Path) -> bool:
        """Whether the folder ``path`` holds a run that this launch of torchrun has begun and not brought to its end."""
        name, run = launch(), cls(path)
        if name is None or run.read_environment().get("launch") != name:
            return False
        # Where a person has named the launch, the name may come again; without a name, a process's number may.
        named = os.environ.get("TORCHELASTIC_RUN_ID") != "none"
        return is_restarted() or (named and run.read_status().get("status") not in ("finished", "stopped", "diverged"))

    @classmethod
    def _newest_first(cls, root: str | Path, recipe: str, config_name: str) -> Iterator[Path]:
        parent = Path(root).expanduser().absolute() / _checked(recipe)
        for number in sorted(_numbered(parent, _checked(config_name)), reverse=True):
            path = parent / f"{config_name}-{number:03d}"
            if cls.is_run(path):
                yield path

    def _missing(self) -> list[str]:
        """Which of the files that make a run are not there."""
        return [name for name in (CONFIG, RECIPE) if not (self.path / name).is_file()]

    def _traces(self) -> list[str]:
        """What is there that only a run leaves."""
        files = [self.path / STATUS, self.path / METRICS, *sorted(self.checkpoints.glob("*.pt"))]
        return [str(file.relative_to(self.path)) for file in files if file.exists()]

    def close(self) -> None:
        """Close the files that rows go to; another row opens them again."""
        self.metrics.close()
        self.measurements.close()
        self.incidents.close()

    def discard(self) -> None:
        """Take back a folder that was just made, for a run that could not begin. What has results stays."""
        if self.read_metrics() or any(self.checkpoints.glob("*.pt")):
            return
        self.close()
        for name in (CONFIG, RECIPE, ENVIRONMENT, REVIEW, STATUS, METRICS, MEASUREMENTS, INCIDENTS, LOCK):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path / PICTURES, self.path):
            with contextlib.suppress(OSError):  # somebody else's files are in it
                folder.rmdir()

    def _furnish(self) -> RunFolder:
        _make(self.checkpoints)
        _make(self.path / PICTURES)
        return self

    # ---------------------------------------------------------------------------------------- where things are

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def config_path(self) -> Path:
        """The resolved config."""
        return self.path / CONFIG

    @property
    def report_path(self) -> Path:
        """The report, one page that needs nothing else."""
        return self.path / REPORT

    @property
    def status_path(self) -> Path:
        """How the run stands, and where."""
        return self.path / STATUS

    @property
    def review_path(self) -> Path:
        """What was objected to in the config before the run."""
        return self.path / REVIEW

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.path / PICTURES

    def picture(self, epoch: int, name: str) -> Path:
        """Where the picture ``name`` of an epoch belongs; its folder is there.

        >>> RunFolder("runs/depth/depth-001").picture(3, "val/left 1").name
        'epoch-0003-val-left-1.png'
        """
        with contextlib.suppress(OSError):  # whoever writes the picture finds out, and knows what to do
            (self.path / PICTURES).mkdir(parents=True, exist_ok=True)
        plain = re.sub(r"[^\w.-]", "-", name)
        return self.path / PICTURES / f"epoch-{epoch:04d}-{plain}.png"

    def recipe_to_run(self) -> Path:
        """The recipe's own file, as long as it still is what ran, so that its imports are found; else the copy."""
        source = self.read_environment().get("recipe")
        copy = self.path / RECIPE
        with contextlib.suppress(OSError):
            if isinstance(source, str) and Path(source).read_bytes() == copy.read_bytes():
                return Path(source)
        return copy

    # ---------------------------------------------------------------------------------------- what a run is made of

    def write_config(self, text: str) -> None:
        """Keep the resolved config."""
        self._write(CONFIG, text.encode())

    def write_recipe(self, source: str | Path) -> None:
        """Keep a copy of the recipe: of the file at a ``Path``, or of the text of a ``str``."""
        if isinstance(source, str):
            self._write(RECIPE, source.encode())
            return
        self._recipe_source = str(source.absolute())
        try:
            content = source.read_bytes()
        except OSError as error:
            raise _cannot("read the recipe", source, error) from error
        self._write(RECIPE, content)

    def write_environment(self, values: Mapping[str, Any] | None = None) -> None:
        """Keep what the run runs in: `environment`, or what is given."""
        values = dict(environment() if values is None else values)
        if self._recipe_source:
            values["recipe"] = self._recipe_source
        self._write(ENVIRONMENT, to_json(values))

    def read_environment(self) -> dict[str, Any]:
        """What environment.json says; empty where there is none that can be read."""
        return read_json(self.path / ENVIRONMENT)

    def write_review(self, objections: Sequence[Mapping[str, Any]], unknown: Sequence[str] = ()) -> None:
        """Keep what there is against the run's settings, as rows; where that fails, one warning."""
        values = {"time": now(), "objections": list(objections), "unknown": list(unknown)}
        try:
            replace_file(self.path / REVIEW, to_json(values))
        except OSError as error:
            log.warning("cannot write %s, the run goes on: %s", self.path / REVIEW, error.strerror or error)

    def read_review(self) -> dict[str, Any]:
        """What review.json says: ``time``, ``objections``, ``unknown``; empty where there is none that can be read."""
        return read_json(self.path / REVIEW)

    def _write(self, name: str, content: bytes) -> None:
        try:
            replace_file(self.path / name, content)
        except OSError as error:
            raise _cannot("write", self.path / name, error) from error

    # ---------------------------------------------------------------------------------------- what a run tells

    def write_status(self, *, status: str, **fields: Any) -> None:
        """Write how the run stands: ``status``, ``fields``, and ``pid, host, started, updated`` as far as not given.

        Fields that are not given keep their value; ``started`` is that of the run's first start.
        """
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}; it can be {', '.join(STATUSES)}")
        known, time = self.read_status(), now()
        values = {"started": time, **known, "pid": os.getpid(), "host": socket.gethostname(), "updated": time}
        try:
            replace_file(self.path / STATUS, to_json({**values, "status": status, **fields}))
            self._status_failed = False
        except OSError as error:
            if not self._status_failed:
                log.warning("cannot write %s, the run goes on: %s", self.path / STATUS, error.strerror or error)
            self._status_failed = True

    def read_status(self) -> dict[str, Any]:
        """What status.json says; empty where there is none that can be read."""
        return read_json(self.path / STATUS)

    def write_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a row of numbers, with the time."""
        self.metrics.write(row)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows that are whole."""
        return self.metrics.read()

    def rewind_metrics(self, iteration: int) -> None:
        """Take away what later iterations than this told, in rows and bundles: a resumed run writes it again."""
        try:
            self.metrics.rewind(iteration)
            self.measurements.rewind(iteration)
            self.incidents.rewind(iteration)
            self.bundles.rewind(iteration)
        except OSError as error:
            raise _cannot("rewind", self.metrics.path, error) from error

    def write_measurement(self, row: Mapping[str, Any]) -> None:
        """Add what was measured inside the model: of its layers, loss terms or units."""
        self.measurements.write(row)

    def write_incident(self, row: Mapping[str, Any]) -> None:
        """Add an incident: what, when, evidence, what was done."""
        self.incidents.write(row)

    def owner(self) -> str | None:
        """Who is at work on the run now: which process, where and since when; None where nobody is."""
        return owner(self.path / LOCK)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the run for the length of a ``with`` block. The system gives it free when the process ends, however.

        Raises:
            RunFolderError: another process owns it; says which one, where and since when.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / LOCK))
            except Locked as error:
                raise RunFolderError(f"{self.path} is in use by {error}: wait for it, or stop it") from error
            except OSError as error:
                raise _cannot("write in the run folder", self.path, error) from error
            for litter in self.path.glob(".tmp-*"):  # of a run that was killed while it wrote
                litter.unlink(missing_ok=True)
            self.bundles.clean()
            yield


def _checked(name: str) -> str:
    """``name`` itself if it is one folder's name and leads nowhere else."""
    if not re.fullmatch(r"[\w.-]+", name) or set(name) == {"."}:
        raise RunFolderError(f"{name!r} cannot be a folder's name: use letters, digits, '_', '-' and '.'")
    return name


def _numbered(parent: Path, name: str) -> list[int]:
    matches = (re.fullmatch(rf"{re.escape(name)}-(\d{{3,}})", entry) for entry in _entries(parent))
    return [int(match[1]) for match in matches if match]


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # not there yet; whatever else is wrong with it comes up when it is made
        return []


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot("make the folder", folder, error) from error


def _cannot(what: str, path: Path, error: OSError) -> RunFolderError:
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
    return RunFolderError(f"cannot {what} {path}: {error.strerror or error}{where}")

"""A folder in which short runs of a recipe are begun, broken and resumed, each in a process of its own.

The processes are forks of this one, in which all that a run imports is loaded already: a fresh one would take seconds
to come to its first line. What is killed in them is killed for real. This process itself never trains, compares or
touches a GPU, so that nothing that does not survive a fork is going on in it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ignition import run
from ignition.command_line import guarded, parse
from ignition.drill.comparison import differences
from ignition.drill.short_runs import Acts, short_of_memory, shortened
from ignition.drill.training_faults import Fault, FaultError, broken
from ignition.lifecycle import Lifecycle  # noqa: F401 (loaded here, so that it is in every fork)
from ignition.recipe import Recipe
from ignition.rundir import RunFolder

SAVE_EVERY, KILLED_AT, ACT_AT = 2, 7, 8  # iterations; the first epoch ends at 5, the run at 10
SMALL = [
    "data.batch_size=2", "data.workers=0", "trainer.device=cpu", "trainer.threads=1", "trainer.compile=false",
    "trainer.evaluate_every=1", f"checkpoint.every_iterations={SAVE_EVERY}", "logging.every=1", "logging.pictures=1",
    "logging.tensorboard=false", "logging.progress=false", "logging.wandb=null", "logging.mlflow=null",
]  # fmt: skip


class Lost(Exception):
    """An accident was not survived; says what was lost."""


class NotApplicable(Exception):
    """An accident that cannot happen to this recipe, or on this machine; says why."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative if a signal did it, and what it said."""

    code: int
    said: str
    seconds: float

    @property
    def resumed_at(self) -> int | None:
        """The iteration from which it said to go on."""
        found = re.search(r"resumed at iteration (\d+)", self.said)
        return int(found[1]) if found else None

    @property
    def last_words(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


class Child:
    """A process of a run, in a group of its own: Ctrl-C on the terminal reaches this one alone, which ends it."""

    def __init__(self, work: Callable[[], int], log: Path):
        self.log, self._began = log, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # numpy's threads, which know what a fork is
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _be(work, log)
        with contextlib.suppress(OSError):  # the child does it as well: whoever comes first
            os.setpgid(self.pid, self.pid)
        self._code: int | None = None

    def wait(self, timeout: float, until: Callable[[], bool] = lambda: False) -> Ended | None:
        """Wait for its end, or for ``until``: then None.

        Raises:
            Lost: it took too long; it is killed.
        """
        end = time.monotonic() + timeout
        while self._poll() is None:
            if until():
                return None
            if time.monotonic() > end:
                self.kill()
                raise Lost(f"it hung: nothing came of it in {timeout:g} s. {self._said()[-300:]}")
            time.sleep(0.01)
        return self._ended()

    def kill(self) -> Ended:
        """End it and all that it has begun, by SIGKILL."""
        if self._poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._ended()

    def _ended(self) -> Ended:
        with contextlib.suppress(OSError):  # loader workers that outlive it
            os.killpg(self.pid, signal.SIGKILL)
        assert self._code is not None
        return Ended(self._code, self._said(), time.monotonic() - self._began)

    def _poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def _said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _be(work: Callable[[], int], log: Path) -> NoReturn:
    """What the child is from its first line to its last."""
    code = 70
    try:
        os.setpgid(0, 0)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(number, handler)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        # What stood for these may be a pipe's or a test's.
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
        logging.basicConfig(force=True)  # parse() gives it its form; a handler would still write to the old place
        logging.getLogger().handlers.clear()
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Sandbox:
    """Short runs of one recipe.

    Args:
        folder: where they lie.
        words: recipe, config and settings, as the command line has them.
        recipe: the loaded recipe.
        timeout: seconds after which a run counts as hung.

    Attributes:
        straight: the run to which nothing happened.
        killed: one that was killed in mid-epoch, after `KILLED_AT` iterations; accidents begin from copies of it.
        workers: ``data.workers`` as the config has it.
    """

    def __init__(self, folder: Path, words: list[str], recipe: type[Recipe], *, workers: int, timeout: float):
        self.folder, self.words, self.recipe = folder, words, recipe
        self.workers, self.timeout = workers, timeout
        self.straight, self.killed = folder / "straight", folder / "killed"
        self.ended: Ended | None = None  # how the run that was killed did
        self._children: list[Child] = []
        self._count = 0

    def prepare(self) -> None:
        """Make both runs.

        Raises:
            FaultError: the recipe does not train without any accident either.
        """
        ended = self.train(self.straight)
        if ended.code:
            said = "\n".join(ended.said.strip().splitlines()[-20:])
            raise FaultError(f"a short run without any accident fails (exit code {ended.code}):\n{said}")
        if "iteration-" not in " ".join(os.listdir(RunFolder(self.straight).checkpoints)):
            raise FaultError(f"a short run has left no checkpoint in {RunFolder(self.straight).checkpoints}")
        self.ended = self.train(self.killed, acts={KILLED_AT: lambda training: os.kill(os.getpid(), signal.SIGKILL)})

    def copy(self, name: str, *, into: Path | None = None) -> Path:
        """The run that was killed, once more."""
        target = (into or self.folder) / name
        names: dict[int, Path] = {}
        for path in sorted(self.killed.rglob("*")):
            copy = target / path.relative_to(self.killed)
            if path.is_dir():
                copy.mkdir(parents=True)
            elif path.stat().st_ino in names:  # last.pt is a name of the newest here as well
                os.link(names[path.stat().st_ino], copy)
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
                names[path.stat().st_ino] = copy
        return target

    def newest(self, folder: Path) -> Path:
        """The newest checkpoint of the run in ``folder``."""
        return sorted(RunFolder(folder).checkpoints.glob("iteration-*.pt"))[-1]

    # ------------------------------------------------------------------------------------------------- processes

    def begin(self, folder: Path, *words: str, acts: Acts | None = None, fault: str = "") -> Child:
        """Begin the run in ``folder``, or go on with it."""
        place = ["--resume" if folder.exists() else "--output", str(folder)]
        arguments = [*self.words, *words, *place]

        def change(recipe: type[Recipe]) -> type[Recipe]:
            if fault == "out_of_memory":
                recipe = short_of_memory(recipe, ACT_AT)
            elif fault:
                recipe = broken(recipe, Fault(fault, at=self._share(), steps=1))  # type: ignore[arg-type]
            return shortened(recipe, acts or {})

        def work() -> int:
            parsed = parse(run.parser(), arguments, example="data.batch_size=4")
            return guarded(lambda: run.train(parsed, change=change))

        return self._child(work)

    def train(self, folder: Path, *words: str, acts: Acts | None = None, fault: str = "") -> Ended:
        """The same, to its end."""
        ended = self.begin(folder, *words, acts=acts, fault=fault).wait(self.timeout)
        assert ended is not None
        return ended

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer, which must be plain, of a process that may use torch."""
        answer = self.folder / "answer.json"

        def work() -> int:
            answer.write_text(json.dumps(question()))
            return 0

        ended = self._child(work).wait(self.timeout)
        if ended is None or ended.code:
            raise Lost(f"the files could not be looked at: {ended.last_words if ended else ''}")
        return json.loads(answer.read_text())

    def close(self) -> None:
        """End whatever is still going on."""
        for child in self._children:
            child.kill()

    def _child(self, work: Callable[[], int]) -> Child:
        self._count += 1
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        child = Child(work, logs / f"{self._count:03d}.log")
        self._children.append(child)
        return child

    def _share(self) -> float:
        """`ACT_AT` as the share of the whole run that the config would train, which a `Fault` asks for."""
        epochs = run_epochs(RunFolder(self.straight))
        return (ACT_AT - 0.5) / (epochs * 5)

    # ------------------------------------------------------------------------------------------------- verdicts

    def resume(self, folder: Path, *words: str, rows: bool = True) -> Ended:
        """Go on with the run to its end, which must be that of the straight one, bit for bit.

        Args:
            rows: those of the log must be the same as well.

        Raises:
            Lost: they are not.
        """
        ended = self.train(folder, *words)
        if ended.code:
            raise Lost(f"the resume failed (exit code {ended.code}): {ended.last_words}")
        self.compare(folder, rows=rows)
        return ended

    def compare(self, folder: Path, *, rows: bool = True) -> None:
        """Make sure that the run in ``folder`` has ended as the straight one.

        Raises:
            Lost: it has not; says where they differ.
        """
        found = self.ask(lambda: differences(self.straight, folder, rows=rows))
        if found:
            raise Lost(f"it differs from the run to which nothing happened: {'; '.join(found[:3])}")


def run_epochs(folder: RunFolder) -> int:
    """How many epochs the config of a run has."""
    epochs = folder.read_status().get("epochs")
    return epochs if isinstance(epochs, int) else 1


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what it has begun is cleaned away."""

    def interrupt(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)

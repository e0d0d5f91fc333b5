"""A folder in which short runs of a recipe are begun, broken and resumed, each in a process of its own.

The processes are forks of this one, in which all that a run imports is loaded already: a fresh one would take seconds
to come to its first line. What is killed in them is killed for real. This process itself never trains, compares or
touches a GPU, so that nothing that does not survive a fork is going on in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ignition import run
from ignition.command_line import guarded, parse
from ignition.drill.child import Child, Ended, Lost
from ignition.drill.comparison import differences
from ignition.drill.short_runs import BATCHES, Acts, short_of_memory, shortened
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


class NotApplicable(Exception):
    """An accident that cannot happen to this recipe, or on this machine; says why."""


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
        try:
            ended = self.train(self.straight)
        except Lost as error:
            raise FaultError(f"a short run without any accident fails: {error}") from error
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
        epochs = RunFolder(self.straight).read_status()["epochs"]
        return (ACT_AT - 0.5) / (epochs * BATCHES)

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

"""Trains what a study still lacks, several runs at once, each a process of its own that can be stopped at any time."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess  # runs, as the study says  # nosec B404
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ignition.config import Section
from ignition.rundir.rows import replace_file
from ignition.studies.schedule import ENDED, Job, jobs
from ignition.studies.study import Study

COMMAND = "{command}"
PLACEHOLDERS = ("{python}", "{command}", "{arguments}", "{line}")
PAUSE = 0.2  # seconds from one look at the processes to the next


class Watcher(Protocol):
    """Who is told how the study goes on."""

    def started(self, job: Job) -> None: ...

    def ended(self, job: Job, state: str) -> None: ...

    def look(self, running: list[Job], done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Failure:
    """A run that ended without a result: its exit code, and the last that it said."""

    job: Job
    code: int
    said: str


@dataclass
class _Started:
    process: subprocess.Popen[bytes]
    iteration: int  # where it went on from
    told: bool = False  # to stop

    def stop(self, number: int) -> None:
        self.told = True
        if self.process.poll() is None:
            self.process.send_signal(number)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def words(template: str, arguments: list[str]) -> list[str]:
    """The command line of a run, from a template and what follows ``python -m ignition.run``.

    >>> words("torchrun --nproc_per_node=2 -m ignition.run {arguments}", ["depth.py", "--resume", "a b"])
    ['torchrun', '--nproc_per_node=2', '-m', 'ignition.run', 'depth.py', '--resume', 'a b']
    >>> words("sbatch --wait --wrap={line}", ["depth.py"])[-1].endswith("-m ignition.run depth.py")
    True
    """
    command = [sys.executable, "-m", "ignition.run", *arguments]
    found: list[str] = []
    for word in shlex.split(template):
        if word == "{command}":
            found += command
        elif word == "{arguments}":
            found += arguments
        else:
            found.append(word.replace("{python}", sys.executable).replace("{line}", shlex.join(command)))
    return found


class Runner:
    """Brings every run of a study to its end.

    State is the run folders alone: whoever starts again goes on with what is there. A run that somebody else is at work
    on, as one of a study that was killed, is waited for.

    Args:
        study: what is to be run.
        folder: where its runs are.
        watcher: is told how it goes on.
        recipe_settings: checks and fills the configs' recipe section.
        at_once: runs at the same time; None: as the study says, else cores / threads.
        check: looks at the first run that has come to its end; what it raises ends the study, with everything saved.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        *,
        watcher: Watcher,
        recipe_settings: type[Section] | None = None,
        at_once: int | None = None,
        check: Callable[[Job], None] | None = None,
    ):
        self.study, self.folder, self.watcher = study, folder, watcher
        self.recipe_settings = recipe_settings
        self.at_once = at_once or study.file.jobs or max(1, cores() // study.file.threads)
        self.failures: list[Failure] = []
        self.stopped_by: int | None = None
        self._running: dict[Job, _Started] = {}
        self._check = check
        self._refused: ValueError | None = None

    def run(self) -> list[Failure]:
        """Train until nothing is left, or `stop`. Returns the runs that have failed.

        Raises:
            ValueError: what ``check`` has raised.
        """
        all_jobs = jobs(self.study, self.folder)
        pending = [job for job in all_jobs if job.state not in ENDED]
        while self._running or (pending and self.stopped_by is None):
            pending += self._gather()
            if self.stopped_by is None:
                self._start_some(pending)
            if self.stopped_by is not None:
                self._tell_the_last(self.stopped_by)
            done = len(all_jobs) - len(pending) - len(self._running) - len(self.failures)
            self.watcher.look(list(self._running), done, len(all_jobs))
            time.sleep(PAUSE)
        if self._refused is not None:
            raise self._refused
        return self.failures

    def stop(self, number: int) -> None:
        """Hand a signal on to every run, and start no more; they save and end."""
        self.stopped_by = self.stopped_by or number
        for started in self._running.values():
            started.stop(number)

    def _tell_the_last(self, number: int) -> None:
        """Stop a run that was just being started when the signal came."""
        for started in self._running.values():
            if not started.told:
                started.stop(number)

    def _start_some(self, pending: list[Job]) -> None:
        """Start what may be started now, and take it off the list; what has ended by itself goes, too."""
        for job in list(pending):
            state = job.state
            if state in ENDED:
                pending.remove(job)
                self.watcher.ended(job, state)
            elif state == "busy" or len(self._running) >= self.at_once or not self._prepared(job):
                continue
            else:
                pending.remove(job)
                self._running[job] = _Started(self._process(job), job.iteration)
                self.watcher.started(job)

    def _prepared(self, job: Job) -> bool:
        """Whether all that has to be there before it is."""
        if job.prepares:
            return True
        before = [other for other in jobs(self.study, self.folder) if other.prepares]
        failed = [failure.job for failure in self.failures]
        return all(other.state in ENDED or other in failed for other in before)

    def _process(self, job: Job) -> subprocess.Popen[bytes]:
        config = self.study.config(job.variant, job.seed, self.folder, self.recipe_settings)
        settings = self.folder / f"{job.name}.yaml"
        replace_file(settings, config.to_yaml().encode())
        arguments = [str(self.study.recipe), "--config", str(settings), "--resume", str(job.folder)]
        with open(self.folder / f"{job.name}.log", "ab") as log:
            return subprocess.Popen(  # nosec B603
                words(self.study.file.command or COMMAND, arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": str(self.study.file.threads)},
                start_new_session=True,  # Ctrl-C reaches it through `stop` alone, once
            )  # fmt: skip

    def _gather(self) -> list[Job]:
        """What has ended by now; gives back the runs that have to go on."""
        again = []
        for job, started in list(self._running.items()):
            code = started.process.poll()
            if code is None:
                continue
            del self._running[job]
            state = job.state
            if state not in ENDED and self.stopped_by is not None:
                state = "saved"
            elif state not in ENDED and job.iteration > started.iteration:
                state = "cut off"  # from outside, and farther than before
                again.append(job)
            elif state not in ENDED:
                state = "failed"
                self.failures.append(Failure(job, code, self._said(job)))
            self.watcher.ended(job, state)
            self._look_at(job, state)
        return again

    def _look_at(self, job: Job, state: str) -> None:
        """Let ``check`` see the first run that is whole: better now than after all of them."""
        if self._check is None or job.prepares or state not in ("finished", "stopped"):
            return
        check, self._check = self._check, None
        try:
            check(job)
        except ValueError as error:
            self._refused = error
            self.stop(signal.SIGTERM)

    def _said(self, job: Job) -> str:
        lines = (self.folder / f"{job.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "nothing")

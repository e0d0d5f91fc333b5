"""Trains a recipe straight, and once more with a kill and a resume in between, and compares the two."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess  # for the name of its error  # nosec B404
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignition.exact_resume.differences import Difference, Row, first_difference, read_notes
from ignition.exact_resume.plan import Plan, read_plan
from ignition.exact_resume.process import started
from ignition.rundir import RunFolder

# Nobody is told of runs that are none, and nothing is drawn over what is printed.
QUIET = ("logging.progress=false", "logging.tensorboard=false", "logging.wandb=null", "logging.mlflow=null")

POLL_SECONDS = 0.2


class TrialFailed(RuntimeError):
    """A run that the check needs has failed; has its last words, and its exit code as ``code``."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


@dataclass
class Verification:
    """Runs and compares, in a folder that is taken away at the end.

    Attributes:
        recipe, config, settings: as for `ignition.run`.
        say: takes each line of what is done.
        asked: ``N+M``, iterations before and after the interruption; None: chosen by the length of an epoch and the
            time that an iteration takes.
        processes: how many train.
    """

    recipe: str
    config: str | None
    settings: list[str]
    say: Callable[[str], object]
    asked: str | None = None
    processes: int = 1

    def run(self) -> bool:
        """Whether the resumed run is the straight one, bit for bit.

        Raises:
            ValueError: what was asked for is no ``N+M``.
            TrialFailed: a run has failed by itself.
        """
        asked = read_plan(self.asked) if self.asked is not None else None
        before = signal.signal(signal.SIGTERM, _end)
        try:
            with tempfile.TemporaryDirectory(prefix="ignition-verify-resume-", ignore_cleanup_errors=True) as folder:
                self._folder = Path(folder)
                return self._compare(asked)
        finally:
            signal.signal(signal.SIGTERM, before)

    def _compare(self, asked: tuple[int, int] | None) -> bool:
        say = self.say
        say(f"{self.recipe}: does a run that is killed and resumed end as the one that is not? In {self._folder}, "
            "which is taken away at the end")  # fmt: skip
        say("straight:  ...")
        straight = self._order("straight", asked=asked)
        seconds = self._train(straight, on_plan=self._announce)
        notes = read_notes(Path(straight["folder"]))
        plan = self._plan
        say(f"straight:  to the end of iteration {plan.end}, {seconds:.0f} s")

        killed = self._order("killed", plan=plan, kill=True)
        seconds = self._train(killed)
        first = read_notes(Path(killed["folder"]))
        say(f"killed:    by SIGKILL in iteration {_last(first)}, saved after {plan.save}, {seconds:.0f} s")
        found = first_difference(notes, first)
        if found is not None:
            return self._tell(found, of_itself=True)

        resumed = self._order("resumed", plan=plan, resume=True, run=killed["run"])
        seconds = self._train(resumed)
        second = read_notes(Path(resumed["folder"]))
        begins = next((row["iteration"] for row in second[0] if "iteration" in row), None)
        say(f"resumed:   in a new process, from iteration {begins} to {_last(second)}, {seconds:.0f} s")
        found = first_difference(notes, second, RunFolder(straight["run"]), RunFolder(killed["run"]))
        if begins is None or _last(second) != _last(notes):
            say("DIFFERENT: the resumed run has not trained to where the straight one did")
            return False
        if found is None:
            self._praise(notes, second, RunFolder(straight["run"]), plan)
            return True
        say("different; whether that is for the resume, or two straight runs differ as well:")
        again = self._order("again", plan=plan)
        seconds = self._train(again)
        say(f"again:     straight to the end of iteration {plan.end}, {seconds:.0f} s")
        repeated = first_difference(
            notes, read_notes(Path(again["folder"])), RunFolder(straight["run"]), RunFolder(again["run"])
        )
        return self._tell(repeated or found, of_itself=repeated is not None)

    # ----------------------------------------------------------------------------------------------------- the runs

    def _order(self, name: str, **values: Any) -> dict[str, Any]:
        """What a process is told; see `ignition.exact_resume.trial.Order`."""
        folder = self._folder / name
        folder.mkdir()
        order = {"recipe": self.recipe, "config": self.config, "settings": [*self.settings, *QUIET],
                 "run": str(folder / "run"), "folder": str(folder)}  # fmt: skip
        if values.get("resume"):
            order["settings"] = []  # it has its own config, as any run that is resumed
        return order | values

    def _train(self, order: dict[str, Any], on_plan: Callable[[Row, float], None] | None = None) -> float:
        """Let a process follow the order; how many seconds it took."""
        log, began = Path(order["folder"]) / "output.txt", time.monotonic()
        words = ["-m", "ignition.exact_resume.trial", json.dumps(order)]
        with started(words, log, processes=self.processes) as process:
            while (code := _wait(process)) is None:
                if on_plan is not None and (row := self._noted_plan(order)) is not None:
                    on_plan(row, time.monotonic() - began)
                    on_plan = None
        if on_plan is not None and (row := self._noted_plan(order)) is not None:
            on_plan(row, time.monotonic() - began)
        if order.get("kill") and self._was_killed(code, order):
            return time.monotonic() - began
        if code != 0 or order.get("kill"):
            ended = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
            told = f"the run '{Path(order['folder']).name}' {ended}:\n{_last_words(log)}"
            raise TrialFailed(told, code if code in (1, 2, 3) else 1)
        return time.monotonic() - began

    def _was_killed(self, code: int, order: dict[str, Any]) -> bool:
        """Whether the process died as it was told to. torchrun itself ends with 1 when one of its processes dies."""
        there = _last(read_notes(Path(order["folder"])))
        return there == order["plan"].kill and (code == -signal.SIGKILL or (self.processes > 1 and code == 1))

    def _noted_plan(self, order: dict[str, Any]) -> Row | None:
        notes = read_notes(Path(order["folder"]))
        return next((row for row in notes[0] if "plan" in row), None) if notes else None

    # --------------------------------------------------------------------------------------------------- the words

    def _announce(self, row: Row, seconds: float) -> None:
        """What is going to be done, and how long it takes: an evaluation comes on top."""
        plan = self._plan = Plan(*row["plan"])
        iterations = plan.end + plan.kill + (plan.end - plan.save)
        left = 3 * (seconds - 2 * row["seconds"]) + iterations * row["seconds"] - seconds
        evaluated = plan.end // row["epoch_length"]
        self.say(
            f"           an epoch has {row['epoch_length']} batches; {row['seconds']:.2g} s an iteration. Saved after "
            f"{plan.save}, killed in {plan.kill}, compared to {plan.end}: about {max(left, 1):.0f} s more"
            + (f", with {evaluated} evaluation{'s' if evaluated > 1 else ''} each" if evaluated else "")
        )

    def _praise(self, notes: list[list[Row]], resumed: list[list[Row]], run: RunFolder, plan: Plan) -> None:
        rows = [row for row in resumed[0] if "iteration" in row]
        weights, optimizer, saved = rows[-1]["weights"], rows[-1]["optimizer"], resumed[0][-1].get("saved", {})
        of_each = f" in each of {self.processes} processes" if self.processes > 1 else ""
        self.say(
            f"EQUAL, bit for bit{of_each}: in each of {len(rows)} iterations after the resume the samples in their "
            f"order, the batch as read and as augmented, {len(weights)} parameters and buffers, {len(optimizer)} "
            f"tensors and numbers of the optimizer; all {len(run.read_metrics())} rows of metrics.jsonl but for their "
            f"times; and all {len(saved)} values of the checkpoint after iteration {plan.end}"
        )

    def _tell(self, found: Difference, *, of_itself: bool) -> bool:
        if of_itself:
            self.say("DIFFERENT, and so are two runs that nobody interrupts: the recipe does not give the same twice")
        else:
            self.say("DIFFERENT after the resume; two straight runs are equal")
        self.say(f"first:     {found.place()}")
        self.say(f"likely:    {found.reason(of_itself=of_itself)}")
        return False


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _last(notes: list[list[Row]]) -> int | None:
    """The last iteration that the first process has noted."""
    return next((row["iteration"] for row in reversed(notes[0]) if "iteration" in row), None) if notes else None


def _last_words(log: Path, lines: int = 15) -> str:
    """The end of what a run has said, without what torchrun says of it afterwards."""
    said = log.read_text(errors="replace").splitlines()
    own = itertools.takewhile(lambda line: "torch/distributed/elastic" not in line, said)
    return "\n".join(f"  {line}" for line in (list(own) or said)[-lines:])


def _end(number: int, frame: object) -> None:
    """End as by Ctrl-C: what was started is ended, and the folder goes."""
    sys.exit(128 + number)

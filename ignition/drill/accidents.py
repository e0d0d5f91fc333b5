"""What happens to the runs of a drill, each for real, and what must be seen afterwards.

Each takes a `Sandbox`, returns what was seen, and raises `Lost` or `NotApplicable`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignition.drill import comparison, disk
from ignition.drill.child import Ended, Lost
from ignition.drill.sandbox import ACT_AT, KILLED_AT, SAVE_EVERY, NotApplicable, Sandbox
from ignition.drill.short_runs import ITERATIONS
from ignition.rundir import RunFolder

FLIPS = 20
MOMENTS = ("half written", "without its name", "without last.pt")
EXACT = "exact"


def kill(sandbox: Sandbox) -> str:
    """The run that all others begin from was killed for real."""
    ended = sandbox.ended
    if ended is None or ended.code != -signal.SIGKILL:
        raise Lost(f"the run was to be killed, and ended with {ended.code if ended else None}")
    resumed = sandbox.resume(sandbox.copy("kill"))
    if resumed.resumed_at is None or KILLED_AT - resumed.resumed_at > SAVE_EVERY:
        raise Lost(f"killed after iteration {KILLED_AT}, it went on from {resumed.resumed_at}")
    return f"killed after iteration {KILLED_AT}, on from {resumed.resumed_at}: {EXACT}"


def sigterm(sandbox: Sandbox) -> str:
    """As a cluster ends a job."""
    return _asked_to_end(sandbox, "sigterm", signal.SIGTERM)


def sigint(sandbox: Sandbox) -> str:
    """Ctrl-C."""
    return _asked_to_end(sandbox, "sigint", signal.SIGINT)


def _asked_to_end(sandbox: Sandbox, name: str, number: signal.Signals) -> str:
    folder = sandbox.copy(name)
    ended = sandbox.train(folder, acts={ACT_AT: lambda training: os.kill(os.getpid(), number)})
    status = RunFolder(folder).read_status()
    if ended.code != 128 + number or status.get("status") != "preempted":
        raise Lost(f"it ended with code {ended.code} as {status.get('status')!r}: {ended.last_words}")
    resumed = sandbox.resume(folder)
    if resumed.resumed_at != status.get("iteration"):
        raise Lost(f"asked in iteration {status.get('iteration')}, it went on from {resumed.resumed_at}")
    return f"exit code {ended.code} with everything saved, on from {resumed.resumed_at}: {EXACT}"


def kill_in_save(sandbox: Sandbox) -> str:
    """Three times, further on in the save each time."""
    folder = sandbox.copy("kill_in_save")
    for moment in MOMENTS:
        ended = sandbox.train(folder, acts={KILLED_AT: _dying(moment)})
        if ended.code != -signal.SIGKILL:
            raise Lost(f"it was to be killed in a save, {moment}, and ended with {ended.code}: {ended.last_words}")
    resumed = sandbox.resume(folder)
    litter = [path.name for path in RunFolder(folder).checkpoints.glob(".tmp-*")]
    if litter:
        raise Lost(f"half files stay: {', '.join(litter)}")
    return f"killed with the file {', '.join(MOMENTS)}; in the end on from {resumed.resumed_at}: {EXACT}"


def _dying(moment: str) -> Callable[[Any], None]:
    return lambda training: disk.die_in_next_save(moment)


def truncated(sandbox: Sandbox) -> str:
    """As after a power cut on a disk that lies."""
    folder = sandbox.copy("truncated")
    newest = sandbox.newest(folder)
    os.truncate(newest, newest.stat().st_size // 2)
    return _goes_on_from_an_older_one(sandbox, folder, newest, "half of the newest checkpoint cut off")


def bit_flip(sandbox: Sandbox) -> str:
    """In the newest checkpoint."""
    folder = sandbox.copy("bit_flip")
    newest = sandbox.newest(folder)
    tally = sandbox.ask(lambda: comparison.flip_bits(newest, FLIPS))
    if tally["wrong"] or not tally["refused"]:
        raise Lost(f"of {FLIPS} flipped bits {tally['wrong']} gave wrong weights without a word")
    what = f"of {FLIPS} bits {tally['refused']} were noticed, {tally['the same']} stood where nothing is read"
    return _goes_on_from_an_older_one(sandbox, folder, newest, what)


def malicious(sandbox: Sandbox) -> str:
    """A stranger's file in the place of the newest checkpoint."""
    folder = sandbox.copy("malicious")
    newest, trace = sandbox.newest(folder), sandbox.folder / "code-has-run"
    sandbox.ask(lambda: comparison.make_malicious(newest, trace))
    seen = _goes_on_from_an_older_one(sandbox, folder, newest, "refused by name")
    if trace.exists():
        raise Lost("the checkpoint has run its code")
    return f"no code ran; {seen}"


def _goes_on_from_an_older_one(sandbox: Sandbox, folder: Path, newest: Path, what: str) -> str:
    resumed = sandbox.resume(folder)
    if not newest.with_name(f"{newest.name}.corrupt").exists() or f"WARNING: {newest}" not in resumed.said:
        raise Lost(f"{newest.name} was damaged and nobody said so")
    return f"{what}; told and set aside, on from {resumed.resumed_at}: {EXACT}"


def full_disk(sandbox: Sandbox) -> str:
    """Full for two iterations, in which a save is due."""
    size = sandbox.newest(sandbox.killed).stat().st_size
    there = sum(path.stat().st_size for path in sandbox.killed.rglob("*") if path.is_file())
    place = sandbox.folder / "full_disk"
    with disk.small_disk(place, there + 6 * size + 2**22) as mounted:
        folder, failing = sandbox.copy("run", into=place), disk.FailingWrites()
        begin: Callable[[], None] = (lambda: disk.fill(place)) if mounted else failing.begin
        end: Callable[[], None] = (lambda: disk.free(place)) if mounted else failing.end
        acts = {KILLED_AT: lambda training: begin(), ITERATIONS - 1: lambda training: end()}
        ended = sandbox.train(folder, acts=acts)
        told = [line for line in ended.said.splitlines() if "disk full" in line]
        if ended.code or not told:
            raise Lost(f"exit code {ended.code}, and {'' if told else 'not '}told: {ended.last_words}")
        sandbox.compare(folder, rows=False)
        lost = sum(row.get("rows_lost", 0) for row in RunFolder(folder).read_metrics())
    how = "a full tmpfs" if mounted else "writes that fail with ENOSPC (only root can mount a small disk)"
    rows = f"; {lost} rows of the log could not be written, and the next one says so" if lost else ""
    return f"{how}: told, trained on, saved as soon as there was space{rows}; its weights exact"


def nan_batch(sandbox: Sandbox) -> str:
    """One sample of one batch."""
    folder = sandbox.copy("nan_batch")
    ended = sandbox.train(folder, fault="nan_batch")
    if ended.code:
        raise Lost(f"the run ended with exit code {ended.code}: {ended.last_words}")
    if not sandbox.ask(lambda: comparison.is_finite(folder)):
        raise Lost("the weights are not finite")
    losses = {row["iteration"]: row["train/batch_loss"] for row in RunFolder(folder).read_metrics()
              if "train/batch_loss" in row}  # fmt: skip
    bad = [iteration for iteration, loss in losses.items() if loss != loss]
    if bad:
        return f"the step of iteration {', '.join(map(str, bad))} was left out, the weights stayed finite"
    return "the recipe's losses do not mind it, and the weights stayed finite"


def killed_worker(sandbox: Sandbox) -> str:
    """As the kernel ends one when memory is short."""
    if not sandbox.workers:
        raise NotApplicable("data.workers is 0; try data.workers=2")

    def kill_one(training: Any) -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    folder = sandbox.copy("killed_worker")
    ended = sandbox.train(folder, f"data.workers={sandbox.workers}", acts={ACT_AT: kill_one})
    return _went_on_or_can_be_resumed(sandbox, folder, ended)


def out_of_memory(sandbox: Sandbox) -> str:
    """For one batch."""
    folder = sandbox.copy("out_of_memory")
    ended = sandbox.train(folder, fault="out_of_memory")
    if ended.code == 0:
        if not sandbox.ask(lambda: comparison.is_finite(folder)):
            raise Lost("the weights are not finite")
        told = [line for line in ended.said.splitlines() if line.startswith("WARNING: ") and "memory" in line]
        return "the run went on" + (f": {told[0].removeprefix('WARNING: ')}" if told else "")
    return _went_on_or_can_be_resumed(sandbox, folder, ended)


def _went_on_or_can_be_resumed(sandbox: Sandbox, folder: Path, ended: Ended) -> str:
    if ended.code == 0:
        sandbox.compare(folder)
        return f"the run went on by itself: {EXACT}"
    resumed = sandbox.resume(folder)
    return f"the run ended ({ended.last_words}); resumed from {resumed.resumed_at}: {EXACT}"


def torn_row(sandbox: Sandbox) -> str:
    """As a kill in the middle of a write leaves it."""
    folder = sandbox.copy("torn_row")
    for name in ("metrics.jsonl", "incidents.jsonl", "measurements.jsonl"):
        with open(folder / name, "ab") as file:
            file.write(b'{"time": 1790000000.0, "iteration": 8, "trai')
    resumed = sandbox.resume(folder)
    return f"half a row in each log; on from {resumed.resumed_at}: {EXACT}"


def second_process(sandbox: Sandbox) -> str:
    """Started on the same folder while the first one works."""
    folder, paused = sandbox.copy("second_process"), sandbox.folder / "paused"

    def pause(training: Any) -> None:
        paused.touch()
        time.sleep(sandbox.timeout)

    first = sandbox.begin(folder, acts={ACT_AT: pause})
    ended = first.wait(sandbox.timeout, until=paused.exists)
    if ended is not None:
        raise Lost(f"the first process ended with exit code {ended.code}: {ended.last_words}")
    second = sandbox.train(folder)
    owner = f"is in use by process {first.pid} on {socket.gethostname()} since "
    if second.code != 2 or owner not in second.said:
        raise Lost(f"the second process ended with exit code {second.code}: {second.last_words}")
    first.kill()
    resumed = sandbox.resume(folder)
    return (f"refused after {second.seconds:.1f} s with the owner's process, host and start; the owner killed, a third "
            f"one on from {resumed.resumed_at}: {EXACT}")  # fmt: skip


BODIES: dict[str, Callable[[Sandbox], str]] = {
    body.__name__: body
    for body in (
        kill, sigterm, sigint, kill_in_save, truncated, bit_flip, malicious, full_disk, nan_batch, killed_worker,
        out_of_memory, torn_row, second_process,
    )
}  # fmt: skip

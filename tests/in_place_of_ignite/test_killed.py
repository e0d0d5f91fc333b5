"""Runs in processes of their own, which a signal ends."""

import json

import pytest

from tests.processes import completed

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from ignite.engine import Engine, Events
from torch import nn

side, folder = sys.argv[1], Path(sys.argv[2])
ends = Events.EXCEPTION_RAISED | Events.TERMINATE | Events.COMPLETED


def run(event, step=None, epochs=1):
    "Train for some epochs of 5 iterations; save at an event."
    trainer, objects = Engine(lambda engine, batch: step and step(engine)), {"model": nn.Linear(1, 1)}
    if side == "ours":
        from ignition.handlers import Checkpoint, Signals
        Signals().attach(trainer)
        checkpoint = Checkpoint(folder, objects)
        checkpoint.restore()
        checkpoint.attach(trainer, event)
    else:
        from ignite.handlers import Checkpoint, DiskSaver
        trainer.add_event_handler(event, Checkpoint(objects, DiskSaver(folder, require_empty=False)))
    trainer.run([0] * 5, max_epochs=epochs)


def kill_while_writing(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_in_iteration_3(engine):
    if engine.state.iteration == 3:
        os.kill(os.getpid(), signal.SIGTERM)


child = os.fork()
if child == 0:
    os.replace = kill_while_writing
    run(Events.EPOCH_COMPLETED)
os.waitpid(child, 0)
run(Events.EPOCH_COMPLETED)  # started again in the same folder
whole = {path.name for path in folder.glob("*.pt")}
print(json.dumps(sorted(path.name for path in folder.iterdir() if path.name not in whole)), flush=True)

folder = folder / "terminated"
os.mkdir(folder)
run(Events.TERMINATE if side == "ours" else ends, terminate_in_iteration_3)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What the program left behind: ``killed(side)`` gives litter, exit status, and the names of saved files."""
    known = {}

    def run(side):
        if side not in known:
            folder = tmp_path_factory.mktemp(side)
            done = completed("-c", PROGRAM, side, folder, timeout_seconds=60)
            files = sorted(path.name for path in (folder / "terminated").glob("*_*.pt"))
            files += sorted(path.name for path in (folder / "terminated").glob("iteration-*.pt"))
            known[side] = json.loads(done.stdout), done.returncode, files
        return known[side]

    return run


@pytest.mark.in_place_of("V11", "ours", "ignite's", there=r"assert \['tmp\w+'\] == \[\]")
def test_the_half_file_of_a_killed_run_is_cleared_away(make, killed):
    litter, _, _ = killed(make)
    assert litter == []


@pytest.mark.in_place_of("V15", "ours", "ignite's", there=r"assert \(-15, \[\]\) == \(0, \['iteration-00000003.pt'\]\)")
def test_what_sigterm_ends_is_saved(make, killed):
    _, status, files = killed(make)
    assert (status, files) == (0, ["iteration-00000003.pt"])

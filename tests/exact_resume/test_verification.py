"""``--verify-resume``: what it says of recipes that are whole, and of those that are not."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ignition.exact_resume.trial import Order, Trial
from ignition.exact_resume.verification import TrialFailed, Verification
from ignition.run import main
from tests.exact_resume.test_resume import COMMON
from tests.processes import completed

ROOT = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """In the place of SIGKILL, where a run is in this process to spare the seconds that torch takes to load."""


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs are trained one after the other in this process; which there were."""
    runs = []

    def die(number, which):
        assert (number, which) == (os.getpid(), signal.SIGKILL)
        raise Killed

    def train(self, order, on_plan=None):
        sys.modules.pop("faulty", None)
        runs.append(Path(order["folder"]).name)
        try:
            code = Trial(Order(**order)).train()
        except Killed:
            assert order["kill"]
            return 0.0
        assert code == 0
        if on_plan is not None:
            on_plan(self._noted_plan(order), 1.0)
        return 0.0

    monkeypatch.setattr(os, "kill", die)
    monkeypatch.setattr(Verification, "_train", train)
    return runs


def verify(recipe, *words, asked=None):
    """Whether it holds, and what was said."""
    said = []
    return Verification(str(recipe), None, [*COMMON, *words], said.append, asked).run(), said


def test_a_recipe_that_is_whole(recipe, in_this_process):
    equal, said = verify(recipe, "trainer.epochs=3", "data.workers=0")
    assert equal
    assert in_this_process == ["straight", "killed", "resumed"]
    assert "Saved after 3, killed in 5, compared to 9" in said[2] and "1 evaluation each" in said[2]
    assert "from iteration 4 to 9" in said[5]
    assert said[-1].startswith("EQUAL, bit for bit: in each of 6 iterations after the resume")
    folder = re.search(r"In (\S+), which", said[0])[1]
    assert not Path(folder).exists()


AFTER = "DIFFERENT after the resume; two straight runs are equal"
ITSELF = "DIFFERENT, and so are two runs that nobody interrupts: the recipe does not give the same twice"


@pytest.mark.parametrize(("fault", "verdict", "first", "likely"), [
    ("counting dataset", AFTER, "iteration 4: 'x' of the batch, sample ", "the dataset keeps something"),
    ("unseeded dataset", ITSELF, "iteration 1: 'x' of the batch, sample ", "a generator that nobody seeds"),
    ("augmentation of its own", AFTER, "iteration 4: 'x' of the batch as augmented", "a generator of its own"),
    ("counting losses", AFTER, "iteration 4: train/batch_loss in metrics.jsonl is ", "that no checkpoint has"),
    ("buffer that is not saved", AFTER, "iteration 4: train/batch_loss in ", "make it a buffer"),
], ids=lambda value: value if " " in value and len(value) < 25 else "")  # fmt: skip
def test_the_first_thing_that_differs_is_named_and_why(recipe, in_this_process, fault, verdict, first, likely):
    equal, said = verify(recipe, "trainer.epochs=3", f"recipe.fault={fault}")
    assert not equal
    assert said[-3] == verdict
    assert said[-2].startswith(f"first:     {first}")
    assert likely in said[-1]
    runs = ["straight", "killed"] if verdict == ITSELF else ["straight", "killed", "resumed", "again"]
    assert in_this_process == runs


def test_a_metric_that_goes_on_counting(recipe, in_this_process):
    equal, said = verify(recipe, "trainer.epochs=4", "recipe.fault=counting metric", asked="8+5")
    assert not equal
    assert said[-2].startswith("first:     iteration 12: val/mae in metrics.jsonl is ")
    assert "from one evaluation to the next" in said[-1]


def test_in_a_process_that_is_really_killed(recipe, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    Path(tempfile.tempdir).mkdir()
    words = ["trainer.epochs=3", "data.workers=2", "trainer.accumulate=2", "ema={decay: 0.9}"]
    assert main([str(recipe), "--verify-resume", *COMMON, *words]) == 0
    said = capfd.readouterr().err
    assert "killed:    by SIGKILL in iteration 6, saved after 4" in said
    assert "EQUAL, bit for bit" in said
    assert list(Path(tempfile.tempdir).iterdir()) == []
    assert not Path("runs").exists()


@pytest.mark.soak
def test_two_processes(recipe):
    words = ["--verify-resume", *COMMON, "trainer.epochs=3", "data.workers=2", "ema={decay: 0.9}", "data.batch_size=8"]
    done = completed("-m", "ignition.run", recipe, *words, processes=2, timeout_seconds=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("EQUAL, bit for bit in each of 2 processes") == 1


def test_a_run_that_fails_by_itself_is_told_with_its_last_words(recipe, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(TrialFailed, match=r"(?s)'straight' ended with code 2:.*unknown key 'recipe\.no_such'") as error:
        verify(recipe, "recipe.no_such=1")
    assert error.value.code == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_ends_it_leaves_nothing_behind(recipe, tmp_path, number, code):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "ignition.run", str(recipe), "--verify-resume", *COMMON]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    log, end = None, time.monotonic() + 60
    while log is None and time.monotonic() < end:
        log = next(scratch.glob("*/straight/output.txt"), None)
        time.sleep(0.02)
    (child,) = children(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert list(scratch.iterdir()) == []
    assert not Path(f"/proc/{child}").exists()


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


@pytest.mark.parametrize(("words", "wrong"), [
    (["--verify-resume", "--check"], "--verify-resume and --check are different things to do"),
    (["--verify-resume", "--output", "x"], "it takes no --output"),
    (["--verify-resume=3"], "'3' is no N+M, for instance 30+10"),
])  # fmt: skip
def test_what_makes_no_sense_is_bad_usage(recipe, capsys, words, wrong):
    try:
        code = main([str(recipe), *words])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert wrong in capsys.readouterr().err


def test_several_machines_are_refused(recipe, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        main([str(recipe), "--verify-resume"])
    assert "on one machine" in capsys.readouterr().err

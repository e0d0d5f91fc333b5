"""The command in a terminal: tmux plays one, a process plays a run that trains."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0  # seconds; a loaded machine is slow

TRAIN = textwrap.dedent("""
    import sys, time
    from ignition.rundir import RunFolder
    path, wait = sys.argv[1], sys.argv[2]
    run = RunFolder(path)
    def status(status, iteration, reason=""):
        run.write_status(status=status, reason=reason, iteration=iteration, iterations=40, epoch=iteration // 10,
                         epochs=4, metric="val/epe", best=40 / max(iteration, 1))
    status("running", 0)
    for i in range(1, 41):
        place = {"iteration": i, "epoch": (i - 1) // 10 + 1}
        run.write_metrics({**place, "train/epoch": place["epoch"], "train/batch_loss": 1.0 / i,
                           "train/learning_rate": 1e-3})
        if i == 20:
            run.write_incident({**place, "name": "loss_spike", "severity": "warning", "first": 20,
                                "message": "a spike at iteration 20"})
        if i % 10 == 0:
            run.write_metrics({**place, "train/epoch_avg_loss": 2.0 / i})
            run.write_metrics({**place, "val/loss": 3.0 / i, "val/epe": 40.0 / i})
            status("running", i)
            sys.stdin.readline() if wait == "asked" else None
    status("finished", 40, "all 4 epochs done")
""")


def environment(**values):
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "TERM")}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **values}


@pytest.fixture
def run(tmp_path):
    """A run's folder, and a process that trains it by an epoch whenever it gets a line."""
    folder = tmp_path / "run"
    folder.mkdir()
    training = subprocess.Popen([sys.executable, "-c", TRAIN, str(folder), "asked"], env=environment(),
                                stdin=subprocess.PIPE, text=True, bufsize=1)  # fmt: skip
    yield folder, training
    training.kill()
    training.wait(timeout=PATIENCE)
    training.stdin.close()


class Terminal:
    """A tmux session of its own server."""

    def __init__(self, socket, width, height, command, **variables):
        self.tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        words = " ".join([*(f"{name}={value}" for name, value in variables.items()), command])
        self._do("new-session", "-d", "-x", str(width), "-y", str(height), f"{words}; echo code $?; sleep 100")

    def _do(self, *words):
        done = subprocess.run([*self.tmux, *words], capture_output=True, text=True, timeout=PATIENCE, env=environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def press(self, key):
        self._do("send-keys", key)

    def type(self, words):
        self._do("send-keys", "-l", words)
        self.press("Enter")

    def screen(self, *, colours=False):
        return self._do("capture-pane", "-p", *(["-e"] if colours else [])).splitlines()

    def wait_for(self, *words):
        """The screen, once each of these is in one of its lines; of several in a tuple, all in the same line."""
        wanted = [each if isinstance(each, tuple) else (each,) for each in words]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = self.screen()
            if all(any(all(part in line for part in each) for line in lines) for each in wanted):
                return lines
            time.sleep(0.05)
        raise AssertionError(f"never came: {words}\n" + "\n".join(self.screen()))

    def wait_until_gone(self, words):
        end = time.monotonic() + PATIENCE
        while any(words in line for line in self.screen()):
            assert time.monotonic() < end, f"still there: {words}"
            time.sleep(0.05)

    def wait_for_prompt(self):
        """Until the shell reads again: what is typed before that is the last program's."""
        end = time.monotonic() + PATIENCE
        while not ([line for line in self.screen() if line.strip()] or [""])[-1].startswith("ready>"):
            assert time.monotonic() < end, "no prompt came"
            time.sleep(0.05)

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], capture_output=True, timeout=PATIENCE)


@pytest.fixture
def terminal(tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux, which is not installed")
    opened = []

    def start(width, height, command, **variables):
        opened.append(Terminal(tmp_path / f"tmux-{len(opened)}", width, height, command, **variables))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def command(*words):
    return f"{sys.executable} -m ignition.monitor {' '.join(map(str, words))}"


@pytest.mark.parametrize("width", [80, 200])
def test_a_run_is_watched_from_start_to_finish(run, terminal, width):
    folder, training = run
    shown = terminal(width, 40, command("--watch", folder))
    first = shown.wait_for("epoch 1/4 · iteration 10/40", "loss train", "findings  none", "q quit")
    assert first[0].startswith("run  running")
    training.stdin.write("\n")
    on_the_time_line = ("▲", "┼")
    second = shown.wait_for(
        "iteration 20/40", "▲ loss_spike  iteration 20", "a spike at iteration 20", on_the_time_line, "loss train 0.05"
    )
    (before,) = (line for line in first if line.startswith("loss train"))
    (now,) = (line for line in second if line.startswith("loss train"))
    assert "loss train 0.1 " in before
    assert before != now
    training.stdin.write("\n\n\n")
    last = shown.wait_for("run  finished", "all 4 epochs done", "val/epe  best 1 (iteration 40)", "loss train 0.025")
    titles = [line for line in last if line.startswith("loss train")]
    assert ("train/learning_rate" in titles[0]) == (width == 200)  # more curves beside each other
    assert max(map(len, last)) <= width
    shown.press("q")
    ended = shown.wait_for("code 0")
    assert not any("loss_spike" in line for line in ended)  # the screen from before is back


def test_keys_scroll_and_control_c_ends(run, terminal):
    folder, training = run
    training.stdin.write("\n\n\n\n")
    training.wait(timeout=PATIENCE)
    shown = terminal(60, 16, command("--watch", folder))
    shown.wait_for("more lines")
    for _ in range(3):
        shown.press("j")
    shown.wait_until_gone("run  finished")
    shown.press("G")
    shown.wait_for("train/learning_rate")
    shown.press("g")
    shown.wait_for("run  finished")
    shown.press("C-c")
    shown.wait_for("code 130")


def test_control_z_gives_the_terminal_back_until_it_goes_on(run, terminal):
    folder, _ = run
    shown = terminal(80, 30, "bash --norc --noprofile -i", PS1="'ready> '")
    shown.wait_for_prompt()
    shown.type(command("--watch", folder))
    shown.wait_for("epoch 1/4")
    shown.press("C-z")
    shown.wait_for("Stopped")
    shown.wait_for_prompt()
    shown.type("fg")
    shown.wait_for("epoch 1/4")
    shown.press("q")
    shown.wait_until_gone("q quit")
    shown.wait_for_prompt()
    shown.type("case $(stty -a) in *-icanon*) echo ra''w;; *) echo coo''ked;; esac")
    shown.wait_for("cooked")


def test_without_colour_and_on_a_terminal_that_can_nothing(run, terminal):
    folder, training = run
    training.stdin.write("\n\n\n\n")
    training.wait(timeout=PATIENCE)
    shown = terminal(80, 40, command("--watch", folder), NO_COLOR=1)
    shown.wait_for("loss_spike")
    assert not any(re.search(r"\x1b\[(3[0-8]|9[0-7])", line) for line in shown.screen(colours=True))
    coloured = terminal(80, 40, command("--watch", folder))
    coloured.wait_for("loss_spike")
    assert any("\x1b[33m" in line for line in coloured.screen(colours=True))
    dumb = terminal(80, 60, command("--watch", folder), TERM="dumb")
    dumb.wait_for("code 0")  # nothing is left to be waited for
    assert not any("\x1b" in line for line in dumb.screen(colours=True))


def piped(*words, **variables):
    return subprocess.run(command(*words).split(), capture_output=True, timeout=PATIENCE, env=environment(**variables),
                          cwd="/")  # fmt: skip


def test_piped_as_plain_text(run):
    folder, training = run
    training.stdin.write("\n\n\n\n")
    training.wait(timeout=PATIENCE)
    for variables in ({}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        done = piped(folder, **variables)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\x1b" not in done.stdout
        assert done.stdout.decode().startswith("run  finished\nall 4 epochs done\n━")
    plain = piped(folder, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="60")
    assert plain.stdout.isascii()
    assert max(map(len, plain.stdout.splitlines())) <= 60
    assert b"!  loss_spike  iteration 20" in plain.stdout


def test_a_watch_that_is_piped_tells_what_is_new_in_lines(run):
    folder, training = run
    with subprocess.Popen(command("--watch", folder).split(), stdout=subprocess.PIPE, text=True,
                          env=environment(PYTHONUNBUFFERED="1")) as watching:  # fmt: skip
        guard = signal.signal(signal.SIGALRM, lambda *_: watching.kill())
        signal.alarm(int(PATIENCE))
        try:
            for line in watching.stdout:
                if line.startswith("loss train"):
                    break
            training.stdin.write("\n\n\n\n")
            lines = watching.stdout.read().splitlines()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, guard)
    assert watching.returncode == 0
    assert lines[-1] == "run, finished, epoch 4/4, loss 0.05, val/epe 1"
    assert "run: warning: a spike at iteration 20" in lines

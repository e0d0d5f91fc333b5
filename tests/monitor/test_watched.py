import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from ignition.monitor import Watched
from ignition.review import Objection
from ignition.rundir import RunFolder
from ignition.stability import Advice


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    run.write_config("checkpoint:\n  metric: val/epe\n  mode: min\n")
    run.write_recipe("# nothing")
    return run


def train(run, *iterations, began=1e9, seconds=1.0):
    for i in iterations:
        run.write_metrics(
            {
                "time": began + i * seconds,
                "iteration": i,
                "epoch": (i - 1) // 10 + 1,
                "train/epoch": (i - 1) // 10 + 1,
                "train/learning_rate": 1e-3,
                "train/batch_loss": 10.0 / i,
            }
        )


def test_an_empty_folder_is_waited_for(tmp_path):
    watched = Watched(tmp_path / "nothing")
    assert not watched.update()
    assert watched.state.status == "waiting"
    assert (watched.findings, watched.objections, watched.pictures, watched.problems) == ([], [], [], [])


def test_how_a_run_stands(run):
    run.write_status(status="running", epoch=2, epochs=5, iterations=50, iteration=20, metric="val/epe", best=2.5)
    run.write_metrics({"time": 1e9, "iteration": 0, "epoch": 0, "baseline/epe": 9.0})
    train(run, *range(1, 21))
    run.write_metrics({"time": 1e9 + 20, "iteration": 20, "epoch": 2, "train/epoch_avg_loss": 0.7})
    run.write_metrics({"time": 1e9 + 21, "iteration": 20, "epoch": 2, "val/loss": 1.0, "val/epe": 2.5})
    watched = Watched(run.path)
    assert watched.update()
    state = watched.state
    assert (state.status, state.epoch, state.epochs, state.iteration, state.iterations) == ("running", 2, 5, 20, 50)
    assert (state.best, state.best_iteration, state.last, state.trivial) == (2.5, 20, 2.5, 9.0)
    assert (state.loss, state.val_loss) == (0.7, 1.0)
    assert state.gap == pytest.approx(0.3)
    assert (state.steps_per_second, state.learning_rate, state.share) == (1.0, 1e-3, 0.4)
    assert state.seconds_left == 30.0
    assert state.disk_left > 0
    assert watched.name == "run"
    assert "val/epe" in watched.settings
    assert not watched.update()


def test_a_run_whose_process_is_gone_is_dead_and_one_without_rows_is_silent(run):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    train(run, 1, 2)
    run.write_status(status="running", pid=ended.pid)
    watched = Watched(run.path)
    watched.update()
    assert watched.state.status == "dead"
    assert watched.state.lost
    assert f"process {ended.pid} is gone" in watched.state.reason
    run.write_status(status="running", pid=os.getpid(), host=socket.gethostname())
    watched.update()
    assert watched.state.status == "running"
    os.utime(run.status_path, (1e9, 1e9))
    watched.update()
    assert watched.state.status == "silent"
    run.write_status(status="diverged", reason="loss is nan")
    watched.update()
    assert (watched.state.status, watched.state.reason) == ("diverged", "loss is nan")


def test_findings_objections_settings_and_pictures(run):
    watched = Watched(run.path)
    watched.update()
    advice = [{"override": "optimizer.lr=1e-4", "why": "smaller steps"}]
    run.write_incident({"iteration": 9, "name": "loss_spike", "severity": "warning", "message": "a spike", "first": 7,
                        "last": 9, "advice": advice, "done": "the batch is left out"})  # fmt: skip
    run.write_incident({"iteration": 9, "name": 7})
    objection = Objection("rate_too_high", "optimizer.lr", "the rate is 0.1", "steps overshoot", "a paper (2021)",
                          (Advice("optimizer.lr=1e-4", "smaller steps"),), "a.yaml:9:3")  # fmt: skip
    run.write_review([objection.row()])
    for epoch in (1, 2):
        run.picture(epoch, "val/left").write_bytes(b"")
    assert watched.update()
    (found,) = watched.findings
    assert (found.iteration, found.first, found.name, found.severity) == (9, 7, "loss_spike", "warning")
    assert (found.advice[0].override, found.done) == ("optimizer.lr=1e-4", "the batch is left out")
    assert watched.problems == ["incidents.jsonl: 1 lines could not be read"]
    assert watched.objections == [objection]
    assert [path.name for path in watched.pictures] == ["epoch-0002-val-left.png"]
    run.review_path.write_text("[{")
    watched.update()
    assert (watched.problems[1:], watched.objections) == (["review.json: is no review"], [])


def test_hostile_files_are_no_exception(run):
    run.metrics.path.write_bytes(
        b'{"iteration": 1, "\\u001b[2J": 3, "train/batch_loss": "Infinity"}\n{"iteration": {"a": 1}, "x": 1}\n'
        b'{"iteration": 1e300, "x": 1}\n{"iteration": 2, "": [1e999], "y": 1e999}\n' + b"[" * 100_000 + b"\n"
    )
    run.incidents.path.write_bytes(b'{"iteration": 1, "name": "x", "advice": [7, {"override": 3}], "severity": []}\n')
    run.status_path.write_bytes(b'{"status": 7, "epoch": "x", "epochs": [], "best": "NaN", "pid": 1e300, "reason": {}}')
    run.config_path.write_bytes(b"\xff\xfe: [")
    run.review_path.write_bytes(b'{"objections": [{"key": 7}, null, {}]}')
    watched = Watched(run.path)
    watched.update()
    watched.update()
    assert "\x1b[2J" in watched.curves.names()
    assert "review.json: is no review" in watched.problems
    assert watched.findings[0].severity == "info"
    assert watched.state.status == "running"


def test_read_while_a_run_writes_is_killed_and_goes_on(tmp_path):
    """Lines come in halves; the writer is killed in one; the next one cuts the log and goes on."""
    writer = textwrap.dedent("""
        import json, os, sys
        from ignition.rundir import RunFolder
        path, begin, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        run = RunFolder(path)
        run.rewind_metrics(begin)
        run.write_metrics({"iteration": begin + 1, "train/batch_loss": float(begin + 1)})
        with open(run.metrics.path, "ab", buffering=0) as file:
            for i in range(begin + 2, end + 1):
                line = json.dumps({"iteration": i, "train/batch_loss": float(i)}).encode() + b"\\n"
                file.write(line[:25])
                if i == end and end < 6000:
                    print("torn", flush=True)
                    os.kill(os.getpid(), 9)
                file.write(line[25:])
    """)
    folder = tmp_path / "run"
    folder.mkdir()
    watched = Watched(folder)
    updates = 0
    for begin, end in ((0, 3000), (2500, 5000), (4000, 6000)):
        process = subprocess.Popen([sys.executable, "-c", writer, str(folder), str(begin), str(end)])
        while process.poll() is None:
            watched.update()
            updates += 1
            seen = [point.mean for point in watched.curves.points("train/batch_loss", 10**6)]
            assert seen == sorted(set(seen))
        assert process.returncode in (0, -signal.SIGKILL)
    watched.update(None)
    points = watched.curves.points("train/batch_loss", 10**6)
    assert sum(point.iteration - point.first + 1 for point in points) == 6000
    assert [point.first for point in points[1:]] == [point.iteration + 1 for point in points[:-1]]
    assert updates > 20
    assert watched.problems == []


def test_it_needs_no_torch_and_writes_nothing(run):
    train(run, 1, 2)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    code = (
        "import sys\nfrom ignition.monitor import Watched\n"
        f"watched = Watched({str(run.path)!r}); watched.update()\n"
        "assert watched.state.iteration == 2\n"
        "assert not {'torch', 'ignite', 'kornia', 'tensorboardX', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_clock_ahead_of_ours_gives_no_negative_time(run):
    train(run, 1, 2, began=time.time() + 1e6)
    watched = Watched(run.path)
    watched.update()
    assert watched.state.silent_seconds == 0.0


def torn_log(draw, rows):
    """Lines as they may stand in a log: whole, torn, glued, of other things, going back."""
    lines = []
    for _ in range(rows):
        kind, i = draw.random(), draw.randrange(60)
        line = json.dumps({"iteration": i, "train/batch_loss": draw.random(), draw.choice("abc"): "NaN"}).encode()
        if kind < 0.1:
            lines.append(line[: draw.randrange(len(line))] + draw.choice([b"\n", b""]))
        elif kind < 0.15:
            lines.append(draw.randbytes(20))
        else:
            lines.append(line + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize("seed", range(25))
def test_however_a_log_grows_and_shrinks_what_is_shown_is_what_it_holds(tmp_path, seed):
    draw = random.Random(seed)
    run = RunFolder(tmp_path)
    followed = Watched(tmp_path)
    log = run.metrics.path
    for _ in range(30):
        deed = draw.random()
        if deed < 0.6 or not log.exists():
            with log.open("ab") as file:
                file.write(torn_log(draw, 8))
        elif deed < 0.7:
            os.truncate(log, draw.randrange(log.stat().st_size + 1))
        elif deed < 0.8:
            run.rewind_metrics(draw.randrange(60))
        elif deed < 0.9:
            log.write_bytes(torn_log(draw, 10))
        else:
            log.unlink()
        followed.update()
        fresh = Watched(tmp_path)
        fresh.update()
        assert repr(shown(followed)) == repr(shown(fresh))


def shown(watched):
    curves = watched.curves
    return [(name, curves.points(name)) for name in sorted(curves.names())], curves.last_iteration, watched.problems

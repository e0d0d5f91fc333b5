import pytest

from ignition.monitor import Watched
from ignition.monitor.terminal.page import Page
from ignition.review import Objection
from ignition.rundir import RunFolder
from ignition.stability import Advice

ADVICE = [{"override": "optimizer.lr=1e-4", "why": "smaller steps"}]


def made(path, *, spike=False, epochs=4, status="running"):
    """A run that was trained over half its epochs of ten iterations."""
    run = RunFolder.create_at(path)
    run.write_config("checkpoint: {metric: val/epe, mode: min}\n")
    run.write_recipe("")
    run.write_metrics({"time": 1e9, "iteration": 0, "epoch": 0, "baseline/epe": 9.0})
    for i in range(1, 21):
        place = {"time": 1e9 + i, "iteration": i, "epoch": (i - 1) // 10 + 1}
        run.write_metrics({**place, "train/epoch": place["epoch"], "train/learning_rate": 1e-3,
                           "train/batch_loss": 3.0 / i, "train/gradient_norm": 1.0})  # fmt: skip
        if i % 10 == 0:
            run.write_metrics({**place, "train/epoch_avg_loss": 3.0 / i})
            run.write_metrics({**place, "val/loss": 4.0 / i, "val/epe": 20.0 / i})
    run.write_status(status=status, reason="all done" if status == "finished" else "", epoch=2, epochs=epochs,
                     iteration=20, iterations=10 * epochs, metric="val/epe", best=1.0)  # fmt: skip
    for i in (7, 12) if spike else ():
        run.write_incident({"time": 1e9 + i, "iteration": i, "name": "loss_spike", "severity": "warning", "first": i,
                            "message": f"loss 9 at iteration {i}", "advice": ADVICE, "done": "left out"})  # fmt: skip
    if spike:
        run.write_incident({"iteration": 15, "name": "recovered", "subject": "loss_spike", "first": 15, "message": ""})
        run.write_incident({"iteration": 9, "name": "loss_conflict", "severity": "info", "message": "a pulls at b"})
    watched = Watched(run.path)
    watched.update()
    return watched


def text(runs, **kind):
    return [line.plain for line in Page(**kind).of(runs)]


def test_one_run(tmp_path):
    lines = text([made(tmp_path / "depth-001", spike=True)], width=80)
    assert lines[0] == "depth-001  running"
    assert lines[1].endswith("epoch 2/4 · iteration 20/40 · 20 s left")
    assert (lines[1].count("━"), lines[1].count("─")) == (19, 20)
    assert lines[2] == "val/epe  best 1 (iteration 20) · last 1 · trivial 9"
    assert lines[3] == "loss     train 0.15 · val 0.2 · gap +0.05"
    assert lines[4].startswith("speed    learning rate 0.001 · 1 steps/s · last row ")
    assert lines[6:13] == [
        "findings  1 warning · 1 note",
        "",
        "▲ loss_spike  2 times, iterations 7 to 12, over by 15",
        "  loss 9 at iteration 12",
        "  done  left out",
        "  try   optimizer.lr=1e-4",
        "        smaller steps",
    ]
    assert lines[14].split("  ")[0] == "loss train 0.15 ● val 0.2"
    assert lines[-2:] == ["· loss_conflict  iteration 9", "  a pulls at b"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("plain", [False, True])
def test_no_line_is_wider_than_the_terminal(tmp_path, width, plain):
    runs = [made(tmp_path / "one", spike=True), made(tmp_path / "two", status="finished")]
    for shown in (runs[:1], runs):
        lines = text(shown, width=width, plain=plain)
        assert max(map(len, lines)) <= width
        assert not plain or all(line.isascii() for line in lines)


def test_several_runs_stand_side_by_side_over_the_same_axes(tmp_path):
    runs = [made(tmp_path / "one", spike=True), made(tmp_path / "two", status="finished")]
    lines = text(runs, width=100)
    assert lines[0] == "best and last of val/epe; findings critical/warning/note"
    assert lines[1].split("  ")[0] == "run"
    assert [name for name in ("gap", "left", "last row") if name in lines[1]] == ["gap", "left"]
    assert lines[2].split()[:6] == ["one", "running", "1", "0/1/1", "2/4", "1"]
    assert lines[3].split()[:6] == ["two", "finished", "1", "0/0/0", "2/4", "1"]
    assert lines[5].startswith("one  loss train 0.15 ● val 0.2")
    assert "two  loss train 0.15 ● val 0.2" in lines[5]
    left, right = lines[6][:49], lines[6][51:]
    assert left.rstrip() == right.rstrip()
    narrow = text(runs, width=50)
    assert narrow[1].split() == ["run", "status", "best", "findings", "epoch", "last"]


def test_on_a_low_terminal_the_worst_finding_and_the_first_curves_come_first(tmp_path):
    run = RunFolder(made(tmp_path / "run", spike=True).path)
    for number in range(6):
        run.write_incident({"iteration": 20, "name": f"finding_{number}", "severity": "warning", "message": "m",
                            "advice": ADVICE})  # fmt: skip
    run.write_incident({"iteration": 3, "name": "divergence", "severity": "critical", "message": "lost"})
    watched = Watched(run.path)
    watched.update()
    lines = text([watched], width=80, height=24)
    assert lines[8] == "✖ divergence  iteration 3"
    assert any(line.startswith("loss train") for line in lines[:15])
    assert sum(line.startswith("▲") for line in lines) == 7


def test_names_that_would_command_the_terminal_do_not(tmp_path):
    run = RunFolder(made(tmp_path / "run").path)
    run.write_metrics({"iteration": 21, "epoch": 3, "val/\x1b]0;title\x07": 1.0, "val/[bold]": 2.0})
    run.write_incident(
        {"iteration": 21, "name": "\x1b[2J", "severity": "critical", "message": "a\r\nb\u202e [red]x[/red]"}
    )
    watched = Watched(run.path)
    watched.update()
    lines = text([watched], width=200)
    assert not any(ord(sign) < 32 or sign == "\u202e" for line in lines for sign in line)
    assert any("[red]x[/red]" in line for line in lines)
    assert any("val/[bold] 2" in line for line in lines)
    assert any("val/�]0;title� 1" in line for line in lines)


def test_how_a_run_ended_and_what_its_config_was_objected_to(tmp_path):
    run = RunFolder(made(tmp_path / "run").path)
    run.write_status(status="diverged", reason="loss is nan at iteration 20")
    advice = (Advice("clip.kind=norm", "a limit"),)
    run.write_review([Objection("no_clipping", "clip.kind", "none", "w", "a paper", advice).row()])
    watched = Watched(run.path)
    watched.update()
    lines = text([watched], width=80)
    assert lines[:2] == ["run  diverged", "loss is nan at iteration 20"]
    assert lines[-5:] == [
        "▲ clip.kind", "  none", "  w (a paper)", "  try   clip.kind=norm", "        a limit",
    ]  # fmt: skip

"""The life of a run: trained, stopped, killed, resumed, refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ignition.run import main
from tests.processes import environment
from tests.tiny_run import COMMON, command, numbers, rows, same_weights, status, until, weights


def test_a_run_leaves_everything_in_its_folder(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=2"]) == 0
    run = Path("runs/tiny_vectors/tiny_vectors-001")
    assert {"config.yaml", "recipe.py", "environment.json", "metrics.jsonl", "status.json"} <= set(os.listdir(run))
    assert {"last.pt", "best.pt"} <= set(os.listdir(run / "checkpoints"))
    assert len(os.listdir(run / "pictures")) == 2 * 2  # two batches at each of two evaluations
    written = rows(run)
    batches = [row for row in written if "train/batch_loss" in row]
    assert [row["iteration"] for row in batches] == list(range(1, 13))
    assert {"train/loss/square", "train/learning_rate", "train/gradient_norm", "train/epoch"} <= batches[0].keys()
    evaluations = [row for row in written if "val/mae" in row]
    assert [row["epoch"] for row in evaluations] == [1, 2]
    assert {"val/loss", "val/loss/square", "val/signal/spread"} <= evaluations[0].keys()
    assert sum("baseline/mae" in row for row in written) == 1
    assert status(run)["status"] == "finished"
    out = capsys.readouterr().out
    assert "trivial" in out
    assert str(run) in out


SETTINGS = {
    "plain": ["checkpoint.every_iterations=1"],
    "accumulation": ["trainer.accumulate=4", "checkpoint.every_iterations=1"],
    "workers": ["data.workers=2", "checkpoint.every_iterations=2"],
    "one_cycle": ["schedule.name=one_cycle", "checkpoint.every_iterations=1"],
    "plateau": ["schedule.name=plateau", "schedule.patience=0", "schedule.threshold=0.5",
                "early_stop={patience: 3, metric: val/mae}", "checkpoint.every_iterations=1"],
    "everything": ["ema={decay: 0.9}", "clip.kind=zclip", "clip.warmup=3", "logging.shadow_clipping=[agc, autoclip]",
                   "schedule={name: cosine, warmup_epochs: 1}", "checkpoint={every_iterations: 1, keep_best: 2, "
                   "metric: val/ema/mae, asynchronous: true, safetensors: true}", "trainer.max_hours=9"],
}  # fmt: skip


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_run_killed_in_mid_epoch_and_resumed_is_the_run_that_was_not(recipe, kind):
    words = [*SETTINGS[kind], "trainer.epochs=3"]
    assert main([str(recipe), *COMMON, *words, "--output", "straight"]) == 0
    process = subprocess.Popen(
        command(recipe, *words, "recipe.slow=0.15", "--output", "killed"), env=environment(), stderr=subprocess.DEVNULL
    )
    until(lambda: len(rows("killed")) >= 10, process)  # rows come down every 3 iterations: in the second epoch
    process.kill()
    process.wait()
    assert status("killed")["status"] == "running"
    assert main([str(recipe), "--resume", "killed", "recipe.slow=0"]) == 0
    assert same_weights(weights("straight"), weights("killed"))
    assert same_weights(weights("straight", "best.pt"), weights("killed", "best.pt"))
    assert numbers("straight") == numbers("killed")
    assert status("killed")["best"] == status("straight")["best"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_everything_saved(recipe, number, code):
    assert main([str(recipe), *COMMON, "trainer.epochs=3", "--output", "straight"]) == 0
    process = subprocess.Popen(command(recipe, "trainer.epochs=3", "recipe.slow=0.15", "--output", "asked"),
                               env=environment(), stderr=subprocess.PIPE, text=True)  # fmt: skip
    until(lambda: len(rows("asked")) >= 4, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert status("asked")["status"] == "preempted"
    assert status("asked")["iteration"] == rows("asked")[-1]["iteration"]
    assert main([str(recipe), "--resume", "asked", "recipe.slow=0"]) == 0
    assert same_weights(weights("straight"), weights("asked"))
    assert numbers("straight") == numbers("asked")


def test_a_finished_run_resumed_does_nothing_and_goes_on_when_asked_for_more(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "done"]) == 0
    files = (path for path in Path("done").rglob("*") if path.is_file() and path.name != ".lock")  # who had it last
    before = {path: path.read_bytes() for path in files}
    assert main([str(recipe), "--resume", "done"]) == 0
    assert "already finished" in capsys.readouterr().err
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == []
    assert main([str(recipe), "--resume", "done", "trainer.epochs=2"]) == 0
    assert [row["epoch"] for row in rows("done") if "val/mae" in row] == [1, 2]


def test_a_run_that_stopped_early_stays_stopped_until_something_is_changed(recipe, capsys):
    words = ["trainer.epochs=9", "early_stop={patience: 1, min_delta: 100}"]
    assert main([str(recipe), *COMMON, *words, "--output", "run"]) == 0
    assert status("run")["status"] == "stopped"
    assert status("run")["epoch"] == 2
    written = numbers("run")
    assert main([str(recipe), "--resume", "run"]) == 0
    assert "already stopped: val/loss has not improved" in capsys.readouterr().err
    assert numbers("run") == written
    assert main([str(recipe), "--resume", "run", "early_stop=null", "trainer.epochs=4"]) == 0
    assert (status("run")["status"], status("run")["epoch"]) == ("finished", 4)
    assert numbers("run")[: len(written)] == written


def test_test_data_is_evaluated_once_with_the_best_weights(recipe, capsys):
    words = ["trainer.epochs=4", "optimizer.lr=0.5", "data.test={name: held_out}", "checkpoint.metric=val/mae"]
    assert main([str(recipe), *COMMON, *words, "--output", "run"]) == 0
    (tested,) = [row["test/mae"] for row in rows("run") if "test/mae" in row]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    best = weights("run", "best.pt")
    hidden = x @ best["0.weight"].T + best["0.bias"]
    by_hand = (hidden @ best["2.weight"].T + best["2.bias"] - x.sum(1, keepdim=True)).abs().mean()
    assert tested == pytest.approx(float(by_hand), abs=0.05)  # samples carry noise of 0.01
    assert "test" in capsys.readouterr().out


def test_resume_starts_a_run_where_there_is_none_yet(recipe):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--resume", "fresh"]) == 0
    assert status("fresh")["status"] == "finished"
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "fresh"]) == 2


def test_a_step_that_is_not_finite_is_left_out_and_too_many_are_a_divergence(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "recipe.explode_at=7", "stability.max_skips=3"]
    assert main([*words, "--output", "bad"]) == 3
    error = capsys.readouterr().err
    assert "diverged: loss and gradient not finite at iteration 10" in error
    assert "Last good checkpoint: " in error and "iteration-00000006.pt" in error
    assert "Traceback" not in error
    assert status("bad")["status"] == "diverged"
    assert all(torch.isfinite(value).all() for value in weights("bad").values())
    losses = [row["train/batch_loss"] for row in rows("bad") if "train/batch_loss" in row]
    assert losses[6:] == ["NaN"] * len(losses[6:])
    assert len(losses[6:]) >= 3


def test_a_bad_sample_ends_the_run_named_and_nothing_is_lost(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "--output", "bad"]
    assert main([*words, "recipe.broken=5"]) == 1
    error = capsys.readouterr().err
    assert "sample 5 of the train data: /data/5.png: truncated" in error
    assert "Traceback" not in error
    assert status("bad")["status"] == "failed"
    assert "sample 5" in status("bad")["reason"]
    assert main([str(recipe), "--resume", "bad", "recipe.broken=-1"]) == 0
    assert main([str(recipe), *COMMON, "trainer.epochs=2", "--output", "good"]) == 0
    assert same_weights(weights("good"), weights("bad"))


def test_other_data_under_a_resumed_run_is_refused(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "run"]) == 0
    assert main([str(recipe), "--resume", "run", "trainer.epochs=2", "data.batch_size=8"]) == 2
    assert "an epoch of this run has 6 batches" in capsys.readouterr().err


def test_a_compiled_model_is_saved_under_its_plain_names_and_resumes_uncompiled(recipe):
    words = [str(recipe), *COMMON, "--output", "run"]
    assert main([*words, "trainer.epochs=1", "trainer.compile=true"]) == 0
    assert set(weights("run")) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert main([str(recipe), "--resume", "run", "trainer.epochs=2", "trainer.compile=false"]) == 0
    assert status("run")["iteration"] == 12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_gpu_trains_and_its_checkpoint_loads_on_the_cpu(recipe, amp):
    words = [str(recipe), *COMMON, "trainer.epochs=2", f"trainer.amp={amp}", "--output", "run"]
    assert main([*words, "trainer.device=cuda"]) == 0
    assert all(value.device.type == "cpu" for value in weights("run").values())
    assert main([str(recipe), "--resume", "run", "trainer.epochs=3", "trainer.device=cpu", "trainer.amp=off"]) == 0
    assert status("run")["status"] == "finished"


def test_two_processes_train_one_run_and_see_the_samples_of_one(recipe):
    words = ["trainer.epochs=2", "recipe.slow=0"]
    assert main([str(recipe), *COMMON, *words, "--output", "one"]) == 0
    done = subprocess.run(command(recipe, *words, "--output", "two", processes=2), env=environment(),
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1
    one, two = ([row["val/mae"] for row in rows(run) if "val/mae" in row] for run in ("one", "two"))
    # other processes draw other noise and dropout, so weights differ a little; the data is the same
    assert two == pytest.approx(one, rel=0.2)
    baselines = [[row["baseline/mae"] for row in rows(run) if "baseline/mae" in row] for run in ("one", "two")]
    assert baselines[1] == pytest.approx(baselines[0], rel=1e-6)  # every validation sample counted once
    assert status("two")["world_size"] == 2
    assert [row["iteration"] for row in rows("two") if "train/batch_loss" in row] == list(range(1, 13))


def test_a_signal_before_the_first_step_ends_the_run_and_it_starts_anew(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=2"]
    assert main([*words, "--output", "asked", "recipe.signal_in=baseline"]) == 143
    assert (status("asked")["status"], status("asked")["reason"]) == ("preempted", "asked to stop by SIGTERM")
    assert not Path("asked/metrics.jsonl").exists()  # half of a baseline is none
    assert main([str(recipe), "--resume", "asked", "recipe.signal_in=''"]) == 0
    assert main([*words, "--output", "straight"]) == 0
    assert numbers("asked") == numbers("straight")
    assert same_weights(weights("straight"), weights("asked"))


@pytest.mark.parametrize("early", ["null", "{patience: 1, min_delta: 100}"])
def test_a_signal_after_the_last_step_leaves_the_test_for_the_resume(recipe, early):
    words = [str(recipe), *COMMON, "trainer.epochs=3", "data.test={name: held_out}", "data.eval_batch_size=5",
             f"early_stop={early}"]  # fmt: skip
    assert main([*words, "--output", "straight"]) == 0
    recipe.write_text(recipe.read_text().replace('signal_in: str = ""', 'signal_in: str = "test"'))
    sys.modules.pop("tiny_vectors", None)
    assert main([*words, "--output", "asked"]) == 143
    assert status("asked")["status"] == "preempted"
    assert not any("test/mae" in row for row in rows("asked"))
    recipe.write_text(recipe.read_text().replace('signal_in: str = "test"', 'signal_in: str = ""'))
    sys.modules.pop("tiny_vectors", None)
    config = Path("asked/config.yaml")
    config.write_text(config.read_text().replace("signal_in: test", "signal_in: ''"))
    assert main([str(recipe), "--resume", "asked"]) == 0
    assert numbers("asked") == numbers("straight")
    assert {key: status("asked")[key] for key in ("status", "reason")} == {
        key: status("straight")[key] for key in ("status", "reason")
    }


def test_a_run_taken_back_goes_on_from_its_last_checkpoint_as_if_it_had_not_left(recipe, caplog):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "checkpoint.every_iterations=4", "stability.watch=false"]
    assert main([*words, "--output", "straight"]) == 0
    assert main([*words, "--output", "back", "recipe.roll_back_at=11"]) == 0
    assert "iteration 11: back to iteration 8, since it looked odd" in caplog.text
    assert numbers("back") == numbers("straight")
    assert same_weights(weights("straight"), weights("back"))


def test_a_run_that_is_taken_back_again_and_again_has_diverged(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "checkpoint.every_iterations=4", "stability.watch=false"]
    assert main([*words, "--output", "back", "recipe.roll_back_at=11", "recipe.roll_backs=9"]) == 3
    assert "it looked odd (iteration 11), again after 3 returns to iteration 8" in capsys.readouterr().err
    assert status("back")["status"] == "diverged"


def test_nothing_to_go_back_to_is_a_divergence(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "recipe.roll_back_at=3", "stability.watch=false"]
    assert main([*words, "--output", "back"]) == 3
    assert "it looked odd (iteration 3), and there is no checkpoint to go back to" in capsys.readouterr().err
    assert status("back")["status"] == "diverged"


def test_a_run_goes_on_with_the_optimizer_s_settings_that_it_is_given(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=1", "optimizer.weight_decay=0.1"]
    assert main([*words, "--output", "run"]) == 0
    assert (
        main([str(recipe), "--resume", "run", "trainer.epochs=2", "optimizer.lr=0.002", "optimizer.weight_decay=0"])
        == 0
    )
    rates = [row["train/learning_rate"] for row in rows("run") if "train/batch_loss" in row]
    assert rates == [0.01] * 6 + [0.002] * 6
    groups = torch.load("run/checkpoints/last.pt", weights_only=True)["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0}
